"""Days on which the same people overlap, events come twice and hangups hours late: live and rebuilt are the same."""

import random

import pytest

from tests import histories
from tests.histories import making
from tests.storing import projected


@pytest.mark.parametrize("seed", [2, 102, 112, 121, 122, 123])
async def test_rows_do_not_depend_on_where_batches_and_restarts_fell(database, seed):
    facts = making.stored(making.overlap(random.Random(seed)))
    async with projected(database.dsn) as here:
        chance = random.Random(seed + 1)
        await histories.live(here, facts, iter(lambda: chance.randint(1, 9), 0), chance)
        assert (await here.rebuild()).differences == []
