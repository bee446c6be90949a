"""Internal calls: 3-1 to 3-4."""

from typing import Final

from calls.scenarios.beginnings import TALK_OF_152_WITH_150
from calls.scenarios.script import Expected, Scenario

INTERNAL: Final = (
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
            hangup main 2 2 150
        """,
        expected=TALK_OF_152_WITH_150,
    ),
    Scenario(
        id="3-2",
        title="internal: 152 calls 150, not answered",
        script="""
            leg main 152
            wait 12
            hangup main 2 0 150
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
            hangup main 0 2 151 via none began none
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
            hangup main 0 0 - via none began none
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
