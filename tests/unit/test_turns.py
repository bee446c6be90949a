"""Turns: the more hosts wait, the longer work behind the store rests (adapters.turns)."""

import asyncio

import pytest

from adapters.turns import LONGEST_REST, REST, Turns


@pytest.mark.parametrize(
    ("waiting", "worked", "rest"),
    [
        pytest.param(0, 0.5, 0.0, id="nobody waits"),
        pytest.param(16, 0.01, 0.02, id="some hosts"),
        pytest.param(1_000, 0.01, 0.01 * REST, id="a crowd, and never longer than this"),
        pytest.param(1_000, 60.0, LONGEST_REST, id="nor than this, whatever was worked"),
    ],
)
async def test_who_worked_rests_by_how_many_hosts_wait(monkeypatch, waiting, worked, rest):
    rested = []

    async def sleep(seconds):
        rested.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await Turns(lambda: waiting).give_way(worked)
    assert rested == [pytest.approx(rest)]
