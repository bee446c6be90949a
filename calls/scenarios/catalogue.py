"""The catalogue: scenarios by the ids that the field gave them (out 1-…, in 2-…, internal 3-…)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from calls.scenarios.engaged import ENGAGED
from calls.scenarios.follow_me import FOLLOW_ME
from calls.scenarios.incoming import INCOMING
from calls.scenarios.internal import INTERNAL
from calls.scenarios.mobiles import MOBILES
from calls.scenarios.outgoing import OUTGOING
from calls.scenarios.script import Scenario
from calls.scenarios.transfers import TRANSFERS


def catalogue() -> Mapping[str, Scenario]:
    """All built-in scenarios by id, in the catalogue's order."""
    return _CATALOGUE


def _place(scenario: Scenario) -> tuple[int, int]:
    kind, number = scenario.id.split("-")
    return int(kind), int(number)


_ALL: Final = (*OUTGOING, *INCOMING, *MOBILES, *TRANSFERS, *ENGAGED, *FOLLOW_ME, *INTERNAL)
_CATALOGUE: Final = MappingProxyType({scenario.id: scenario for scenario in sorted(_ALL, key=_place)})
