"""The catalogue: scenarios by the ids that the field gave them (out 1-…, in 2-…, internal 3-…)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from calls.scenarios.script import Expected, Scenario

_C: Final = "+375290000101"
_L1: Final = "0007001"


def catalogue() -> Mapping[str, Scenario]:
    """All built-in scenarios by id, in the catalogue's order."""
    return _CATALOGUE


_OUTGOING: Final = (
    Scenario(
        id="1-1",
        title="outgoing: 151 dials a customer, answered",
        script="""
            leg main 151
            dial main 1 151 C
            leg ext L1 C
            ncid ext
            wait 3
            create A
            enter A ext 151
            enter A main <unknown> exten C
            wait 11
            leave A ext 151
            leave A main
            destroy A
            hangup main 1 2 151 phone C
        """,
        expected=Expected(
            direction="out",
            outcome="answered",
            customer=_C,
            line=_L1,
            caller="151",
            answered_by="151",
            talked=("151",),
            phases=("ringing", "talking", "ended"),
        ),
    ),
    Scenario(
        id="1-8",
        title="outgoing: the customer does not answer",
        script="""
            leg main 151
            dial main 1 151 C
            leg ext L1 C
            ncid ext
            wait 22
            hangup main 1 0 151 phone C
        """,
        expected=Expected(
            direction="out",
            outcome="not_answered",
            customer=_C,
            line=_L1,
            caller="151",
            phases=("ringing", "ended"),
        ),
    ),
    Scenario(
        id="1-10",
        title="outgoing: the line is busy and there is no reserve",
        script="""
            leg main 151
            dial main 1 151 C
            leg ext L1 C
            ncid ext
            hangup main 1 0 - phone C
        """,
        expected=Expected(
            direction="out",
            outcome="not_answered",
            customer=_C,
            line=_L1,
            caller="151",
            phases=("ringing", "ended"),
        ),
    ),
)

_INCOMING: Final = (
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
            enter A main 151 exten L1
            wait 9
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=Expected(
            direction="in",
            outcome="answered",
            customer=_C,
            line=_L1,
            rung=("150", "151", "152"),
            answered_by="151",
            talked=("151",),
            phases=("begun", "ringing", "talking", "ended"),
        ),
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
        expected=Expected(
            direction="in",
            outcome="missed",
            customer=_C,
            line=_L1,
            rung=("150", "151", "152"),
            phases=("begun", "ringing", "ended"),
        ),
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
            enter A main 151 exten L1
            enter A mgr C
            wait 4
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=Expected(
            direction="in",
            outcome="answered",
            customer=_C,
            line=_L1,
            rung=("150", "151", "152"),
            answered_by="151",
            talked=("151",),
            phases=("begun", "ringing", "talking", "ended"),
        ),
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
        expected=Expected(
            direction="in",
            outcome="missed",
            customer=_C,
            line=_L1,
            rung=("150", "151", "152"),
            phases=("begun", "ringing", "ended"),
        ),
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
            enter A main 151 exten L1
            enter A mgr C
            wait 6
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=Expected(
            direction="in",
            outcome="answered",
            customer=_C,
            line=_L1,
            rung=("150", "151"),
            answered_by="151",
            talked=("151",),
            phases=("begun", "ringing", "talking", "ended"),
        ),
    ),
    Scenario(
        id="2-15",
        title="incoming: a ring plan, 150, then with 151, then with a mobile; nobody answers",
        script="""
            leg main L1 C
            start main
            ncid main
            wait 3
            dial main 0 150
            wait 10
            dial main 0 150,151
            wait 10
            dial main 0 150,M,151
            wait 21
            hangup main 0 0 -
        """,
        expected=Expected(
            direction="in",
            outcome="missed",
            customer=_C,
            line=_L1,
            rung=("150", "151", "+375290000102"),
            phases=("begun", "ringing", "ended"),
        ),
    ),
)

_INTERNAL: Final = (
    Scenario(
        id="3-1",
        title="internal: 152 calls 150, answered",
        script="""
            leg main 152
            leg callee 150
            create A
            enter A main 150 exten 150
            enter A callee 152
            wait 4
            leave A callee 152
            leave A main 150
            destroy A
            hangup main 2 2 150 phone 152
        """,
        expected=Expected(
            direction="internal",
            outcome="answered",
            caller="152",
            rung=("150",),
            answered_by="150",
            talked=("150",),
            phases=("begun", "talking", "ended"),
        ),
    ),
    Scenario(
        id="3-2",
        title="internal: 152 calls 150, not answered",
        script="""
            leg main 152
            wait 12
            hangup main 2 0 150 phone 152
        """,
        expected=Expected(
            direction="internal",
            outcome="missed",
            caller="152",
            rung=("150",),
            phases=("ended",),
        ),
    ),
    Scenario(
        id="3-3",
        title="internal: 152 calls department 901, 151 takes it",
        script="""
            leg main 152
            leg member 151
            create A
            enter A member 152
            enter A main 151 exten 901
            wait 3
            leave A main 151
            leave A member 152
            destroy A
            hangup main 0 2 151 phone 152 via none unbegun
        """,
        expected=Expected(
            direction="internal",
            outcome="answered",
            caller="152",
            dialled="901",
            rung=("151",),
            answered_by="151",
            talked=("151",),
            phases=("talking", "ended"),
        ),
    ),
    Scenario(
        id="3-4",
        title="internal: 152 calls department 901, nobody takes it",
        script="""
            leg main 152
            wait 20
            hangup main 0 0 - phone 152 via none unbegun
        """,
        expected=Expected(
            direction="internal",
            outcome="missed",
            caller="152",
            phases=("ended",),
        ),
        plausible=True,
    ),
)

_CATALOGUE: Final = MappingProxyType(
    {scenario.id: scenario for scenario in (*_OUTGOING, *_INCOMING, *_INTERNAL)}
)
