"""Incoming calls that extensions alone are rung for: 2-1 to 2-4, and 2-12."""

from typing import Final

import msgspec

from calls.scenarios.beginnings import MISSED, TAKEN_BY_151
from calls.scenarios.script import Scenario

INCOMING: Final = (
    Scenario(
        id="2-1",
        title="incoming: greeting, then 150, 151 and 152 are rung; 151 answers",
        script="""
            leg main L1 C
            start main
            ncid main
            wait 4
            dial main 0 150,151,152
            leg mgr 151
            wait 3
            create A
            enter A mgr C
            enter A main 151
            wait 9
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=TAKEN_BY_151,
    ),
    Scenario(
        id="2-2",
        title="incoming: greeting, then 150, 151 and 152 are rung; nobody answers",
        script="""
            leg main L1 C
            start main
            ncid main
            wait 4
            dial main 0 150,151,152
            wait 17
            hangup main 0 0 -
        """,
        expected=MISSED,
    ),
    Scenario(
        id="2-3",
        title="incoming: no greeting; 151 answers",
        script="""
            leg main L1 C
            start main
            ncid main
            dial main 0 150,151,152
            leg mgr 151
            wait 2
            create A
            enter A main 151
            enter A mgr C
            wait 4
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=TAKEN_BY_151,
    ),
    Scenario(
        id="2-4",
        title="incoming: no greeting; nobody answers",
        script="""
            leg main L1 C
            start main
            ncid main
            dial main 0 150,151,152
            wait 10
            hangup main 0 0 -
        """,
        expected=MISSED,
    ),
    Scenario(
        id="2-12",
        title="incoming: a ring plan, 150 and then 150 with 151; 151 answers",
        script="""
            leg main L1 C
            start main
            ncid main
            wait 3
            dial main 0 150
            wait 8
            dial main 0 150,151
            dial main 0 150,151
            leg mgr 151
            wait 4
            create A
            enter A main 151
            enter A mgr C
            wait 6
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=msgspec.structs.replace(TAKEN_BY_151, rung=("150", "151")),
    ),
)
