"""Outgoing calls: 1-1 to 1-11."""

from typing import Final

import msgspec

from calls.scenarios.beginnings import OUTGOING_ANSWERED, OUTGOING_FAILED, OUTGOING_TALK, RESERVE
from calls.scenarios.script import Scenario

_ENDS_TWICE: Final = ("ringing", "talking", "ended", "talking", "ended")

OUTGOING: Final = (
    Scenario(
        id="1-1",
        title="outgoing: 151 dials a customer, answered",
        script=OUTGOING_TALK
        + """
            wait 11
            leave A ext 151
            leave A main
            destroy A
            hangup main 1 2 151 phone C
        """,
        expected=OUTGOING_ANSWERED,
    ),
    Scenario(
        id="1-2",
        title="outgoing: click-to-call, 151's phone is rung first, then the customer's; answered",
        script="""
            external
            leg mgr 151
            create A
            enter A mgr C
            leg main 151
            dial main 1 151 C
            leg ext L1 C
            ncid ext sees 151
            wait 4
            unseen create B         # its bridge_create is lost
            enter B ext 151
            wait 8
            leave B ext 151
            destroy B
            hangup main 1 2 - phone C
            leave A mgr C
        """,
        expected=msgspec.structs.replace(OUTGOING_ANSWERED, origin="crm"),
    ),
    Scenario(
        id="1-3",
        title="outgoing: 151 asks 152, who picks up and refuses; 151 talks on with the customer",
        script=OUTGOING_TALK
        + """
            wait 6
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B main C
            unseen enter B ask1 151
            ncid ask2
            ncid ask1 sees 151
            wait 4
            create C
            leg colleague 152
            enter C ask2 152
            enter C colleague 151
            wait 5
            leave C colleague 151
            leave C ask2 152
            destroy C
            hangup ask2 2 2 152
            leave B ask1 151
            leave B main 152
            enter A main 152 exten C
            destroy B
            wait 4
            leave A main C
            leave A ext 151
            destroy A
            hangup main 1 2 151 phone C
        """,
        expected=msgspec.structs.replace(OUTGOING_ANSWERED, consulted=("152",)),
    ),
    Scenario(
        id="1-4",
        title="outgoing: 151 asks 152, who takes over and talks with the customer",
        script=OUTGOING_TALK
        + """
            wait 4
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B main C
            unseen enter B ask1 151
            ncid ask1 sees 151
            wait 3
            create C
            leg colleague 152
            enter C ask2 152
            enter C colleague 151
            wait 3
            leave B main 152
            leave B ask1 151
            enter A ask1 151
            destroy B
            hangup main 1 2 - phone C
            leave A ext 151
            enter C ext 152
            leave C ask2 152
            leave A ask1 151
            wait 5
            leave C colleague C
            leave C ext 152
        """,
        expected=msgspec.structs.replace(OUTGOING_ANSWERED, talked=("151", "152")),
    ),
    Scenario(
        id="1-5",
        title="outgoing: 151 asks 152, who is not there; 151 talks on with the customer",
        script=OUTGOING_TALK
        + """
            wait 5
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B main C
            unseen enter B ask1 151
            ncid ask1 sees 151
            wait 26
            leave B main
            enter A main 152 exten C
            leave B ask1 151
            destroy B
            hangup ask2 2 0 152
            wait 7
            leave A main C
            leave A ext 151
            destroy A
            hangup main 1 2 151 phone C
        """,
        expected=msgspec.structs.replace(OUTGOING_ANSWERED, consulted=("152",)),
    ),
    Scenario(
        id="1-6",
        title="outgoing: 151 transfers the customer blind to 152, who answers",
        script=OUTGOING_TALK
        + """
            wait 3
            leave A main
            leave A ext 151
            destroy A
            leg target 152
            ncid target
            hangup main 1 2 151 phone C
            wait 2
            create B
            enter B target C
            enter B ext 152 exten 152
            wait 3
            leave B target C
            leave B ext 152
            destroy B
            hangup ext 2 2 152
        """,
        expected=msgspec.structs.replace(OUTGOING_ANSWERED, talked=("151", "152")),
        least=msgspec.structs.replace(OUTGOING_ANSWERED, talked=("151", "152"), phases=_ENDS_TWICE),
    ),
    Scenario(
        id="1-7",
        title="outgoing: 151 transfers the customer blind to 152, who does not answer",
        script=OUTGOING_TALK
        + """
            wait 4
            leave A main
            leave A ext 151
            destroy A
            hangup main 1 2 151 phone C
            leg target 152
            ncid target
            wait 8
            hangup ext 2 0 152
        """,
        expected=msgspec.structs.replace(
            OUTGOING_ANSWERED, outcome="lost_in_transfer", consulted=("152",), phases=_ENDS_TWICE
        ),
        least=msgspec.structs.replace(OUTGOING_ANSWERED, outcome="lost_in_transfer", consulted=("152",)),
    ),
    Scenario(
        id="1-8",
        title="outgoing: the customer does not answer",
        script="""
            leg main 151
            dial main 1 151 C
            leg ext L1 C
            ncid ext sees 151
            wait 22
            hangup main 1 0 151 phone C
        """,
        expected=OUTGOING_FAILED,
    ),
    Scenario(
        id="1-9",
        title="outgoing: the line is busy, the reserve line is tried; answered",
        script="""
            leg main 151
            dial main 1 151 C via L1
            leg busy L1 C
            ncid busy sees 151
            dial main 1 151 C via L2
            leg ext L2 C
            ncid ext sees 151
            wait 2
            create A
            enter A ext 151
            enter A main <unknown> exten C
            wait 5
            leave A ext 151
            leave A main
            destroy A
            hangup main 1 2 - phone C
        """,
        expected=msgspec.structs.replace(OUTGOING_ANSWERED, line=RESERVE),
    ),
    Scenario(
        id="1-10",
        title="outgoing: the line is busy and there is no reserve",
        script="""
            leg main 151
            dial main 1 151 C
            leg ext L1 C
            ncid ext sees 151
            hangup main 1 0 - phone C
        """,
        expected=OUTGOING_FAILED,
    ),
    Scenario(
        id="1-11",
        title="outgoing: 151 may not call in that direction, refused at once",
        script="""
            leg main 151
            dial main 1 151 C
            hangup main 1 0 151 phone C
        """,
        expected=OUTGOING_FAILED,
        plausible=True,
    ),
)
