"""Incoming calls that a manager's mobile is rung for too: 2-5, 2-6 and 2-13 to 2-17."""

from typing import Final

import msgspec

from calls.scenarios.beginnings import GROUP_AND_MOBILE_RUNG, MISSED, MOBILE, MOBILE_RUNG, TAKEN_BY_151
from calls.scenarios.script import Scenario

_PLAN_RUNG: Final = (
    """
            leg main L1 C
            start main
            ncid main
            wait 3
            dial main 0 150
            wait 10
            dial main 0 150,151
            wait 10
            dial main 0 150,M,151
"""
    + MOBILE_RUNG
)
_LONG_PLAN_RUNG: Final = (
    """
            leg main L1 C
            start main
            ncid main
            wait 5
            dial main 0 150
            wait 15
            dial main 0 150,151
            dial main 0 150,151
            wait 20
            dial main 0 150,M,151
            dial main 0 150,M,151
"""
    + MOBILE_RUNG
)
_IN_A_PLAN: Final = msgspec.structs.replace(TAKEN_BY_151, rung=("150", "151", MOBILE))

MOBILES: Final = (
    Scenario(
        id="2-5",
        title="incoming: 150, 151, 152 and a mobile are rung; the mobile answers",
        script=GROUP_AND_MOBILE_RUNG
        + """
            create A
            enter A sip2 C
            enter A mob2 L1
            create B
            enter B main <unknown>
            enter B mob1 C exten none
            wait 5
            leave A sip2 C
            leave A mob2 L1
            destroy A
            hangup mob2 1 2 - phone M
            leave B mob1 C
            leave B main
            destroy B
        """,
        expected=msgspec.structs.replace(
            TAKEN_BY_151, rung=("150", MOBILE, "151", "152"), answered_by=MOBILE, talked=(MOBILE,)
        ),
    ),
    Scenario(
        id="2-6",
        title="incoming: 150, 151, 152 and a mobile are rung; 151 answers",
        script=GROUP_AND_MOBILE_RUNG
        + """
            create A
            enter A mgr C
            enter A main 151
            hangup mob2 1 0 C phone M
            wait 4
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=msgspec.structs.replace(TAKEN_BY_151, rung=("150", MOBILE, "151", "152")),
    ),
    Scenario(
        id="2-13",
        title="incoming: a ring plan, 150, then with 151, then with a mobile; 151 answers",
        script=_PLAN_RUNG
        + """
            wait 5
            create A
            enter A main 151
            hangup mob2 1 0 C phone M
            enter A mgr C
            wait 4
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=_IN_A_PLAN,
    ),
    Scenario(
        id="2-14",
        title="incoming: a ring plan, 150, then with 151, then with a mobile; the mobile answers",
        script=_PLAN_RUNG
        + """
            wait 3
            create A
            enter A sip2 C
            enter A mob2 L1
            create B
            enter B main <unknown>
            enter B mob1 C exten none
            wait 3
            leave A sip2 C
            leave A mob2 L1
            destroy A
            hangup mob2 1 2 - phone M
            leave B mob1 C
            leave B main
            destroy B
        """,
        expected=msgspec.structs.replace(_IN_A_PLAN, answered_by=MOBILE, talked=(MOBILE,)),
    ),
    Scenario(
        id="2-15",
        title="incoming: a ring plan, 150, then with 151, then with a mobile; nobody answers",
        script=_PLAN_RUNG
        + """
            wait 20
            hangup mob2 1 0 C phone M
            hangup main 0 0 -
        """,
        expected=msgspec.structs.replace(MISSED, rung=("150", "151", MOBILE)),
    ),
    Scenario(
        id="2-16",
        title="incoming: a ring plan with greetings, 150, then with 151, then with a mobile; 151 answers",
        script=_LONG_PLAN_RUNG
        + """
            wait 14
            create A
            enter A mgr C
            enter A main 151
            hangup mob2 1 0 C phone M
            wait 8
            leave A main 151
            leave A mgr C
            destroy A
            hangup main 0 2 151
        """,
        expected=_IN_A_PLAN,
        plausible=True,
    ),
    Scenario(
        id="2-17",
        title="incoming: a ring plan with greetings, 150, then with 151, then with a mobile; the mobile answers",
        script=_LONG_PLAN_RUNG
        + """
            wait 9
            create A
            enter A mob2 L1
            enter A sip2 C
            create B
            enter B mob1 C exten none
            enter B main <unknown>
            wait 6
            leave A sip2 C
            leave A mob2 L1
            destroy A
            hangup mob2 1 2 - phone M
            leave B mob1 C
            leave B main
            destroy B
        """,
        expected=msgspec.structs.replace(_IN_A_PLAN, answered_by=MOBILE, talked=(MOBILE,)),
        plausible=True,
    ),
)
