"""Incoming calls that 151 transfers to 300, the FollowMe of 150 with a mobile: 2-23 to 2-30."""

from typing import Final

import msgspec

from calls.scenarios.beginnings import GROUP_RUNG, MOBILE, TAKEN_BY_151
from calls.scenarios.script import Scenario

_ASKED: Final = (
    GROUP_RUNG
    + """
            wait 2
            create A
            enter A mgr C
            enter A main 151
            wait 3
            create B
            leg ask1 300@dialexecute;1 150
            leg ask2 300@dialexecute;2 151
            unseen enter B ask1 151
            ncid ask2
            leave A mgr C
            enter B mgr C
            wait 11
            leg mob1 M@5e0c71b2;1 300
            leg mob2 M@5e0c71b2;2 151
"""
)
"""151 holds the customer and has 300 rung: 150 first, then the mobile as well."""
_TWO_LINES_TRIED: Final = """
            dial mob2 1 151 M via L1
            leg sip1 L1 M
            ncid sip1 sees 151
            dial mob2 1 151 M via L2
            leg sip2 L2 M
            ncid sip2 sees 151
"""
_SENT: Final = (
    GROUP_RUNG
    + """
            wait 2
            create A
            enter A main 151
            enter A mgr C
            wait 3
            leave A mgr C
            leave A main 151
            destroy A
            dial main 0 150
            wait 10
            dial main 0 150,M
            leg mob1 M@5e0c71b2;1 300
            leg mob2 M@5e0c71b2;2 C
            ncid mob1 sees C exten 300
            ncid mob2 sees 300
            dial mob2 1 C M via L1
            leg sip1 L1 M
            ncid sip1 sees C
            dial mob2 1 C M via L2
            leg sip2 L2 M
            ncid sip2 sees C
"""
)
"""151 has sent the customer to 300 blind: 150 is rung, then the mobile as well, on one line and on the other."""
_TO_MOBILE: Final = msgspec.structs.replace(TAKEN_BY_151, talked=("151", MOBILE), consulted=("150",))
_TO_150: Final = msgspec.structs.replace(TAKEN_BY_151, talked=("151", "150"), consulted=(MOBILE,))
_TO_NOBODY: Final = msgspec.structs.replace(TAKEN_BY_151, consulted=("150", MOBILE))

FOLLOW_ME: Final = (
    Scenario(
        id="2-23",
        title="incoming: 151 asks 300; 150 and then the mobile are rung; the mobile takes over",
        script=_ASKED
        + """
            leg sip1 L1 M                # the dial on the first line is lost
            ncid sip1 sees 151
            dial mob2 1 151 M via L2
            leg sip2 L2 M
            ncid sip2 sees 151
            wait 7
            create C
            enter C mob2 300
            enter C sip2 151
            ncid ask1 sees 151
            create D
            enter D mob1 151 exten none
            enter D ask2 150
            leave B mgr 150
            leave B ask1 151
            enter A ask1 151
            destroy B
            leave D mob1 151
            enter A mob1 C exten none
            leave A ask1 151
            leave D ask2 150
            ncid ask2 as C sees 150 context mngr15_1
            destroy D
            ncid mob2 as C sees 300
            leave C sip2 C
            leave C mob2 300
            destroy C
            hangup mob2 1 2 C phone M
            leave A mob1 C
            leave A main 150
            destroy A
            hangup main 0 2 151
        """,
        expected=_TO_MOBILE,
    ),
    Scenario(
        id="2-24",
        title="incoming: 151 asks 300; the mobile picks up and refuses; 151 talks on with the customer",
        script=GROUP_RUNG
        + """
            wait 2
            create A
            enter A main 151
            enter A mgr C
            wait 3
            create B                     # nobody is seen entering
            leg ask1 300@dialexecute;1 150
            leg ask2 300@dialexecute;2 151
            ncid ask2
            wait 11
            leg mob1 M@5e0c71b2;1 300
            leg mob2 M@5e0c71b2;2 151
            dial mob2 1 151 M via L2
            leg sip L2 M
            ncid sip sees 151
            wait 3
            create C
            enter C mob2 300
            enter C sip 151
            create D
            enter D ask2 150
            enter D mob1 151 exten none
            wait 2
            leave C sip 151
            leave C mob2 300
            destroy C
            hangup mob2 1 2 151 phone M
            leave D mob1 151
            leave D ask2 150
            destroy D
            wait 3
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=_TO_NOBODY,
    ),
    Scenario(
        id="2-25",
        title="incoming: 151 asks 300; the mobile is tried on two lines, 150 takes over",
        script=_ASKED
        + _TWO_LINES_TRIED
        + """
            ncid ask1 sees 151
            enter B ask1 151
            leg owner 150
            create C
            enter C ask2 150
            enter C owner 151
            hangup mob2 1 0 151 phone M
            wait 3
            leave B mgr 150
            leave B ask1 151
            enter A ask1 151
            destroy B
            leave A main 151
            enter C main 150
            leave C ask2 150
            ncid ask2 as C sees 150 context mngr15_1
            leave A ask1 151
            destroy A
            wait 6
            leave C owner C
            leave C main 150
            destroy C
            hangup main 0 2 151
        """,
        expected=_TO_150,
    ),
    Scenario(
        id="2-26",
        title="incoming: 151 asks 300; 150 picks up and refuses; 151 talks on with the customer",
        script=_ASKED
        + """
            dial mob2 1 151 M via L2
            leg sip L2 M
            ncid sip sees 151
            ncid ask1 sees 151
            leg owner 150
            create C
            enter C ask2 150
            enter C owner 151
            hangup mob2 1 0 151 phone M
            wait 4
            leave C owner 151
            leave C ask2 150
            destroy C
            unseen enter A mgr C
            wait 5
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=_TO_NOBODY,
    ),
    Scenario(
        id="2-27",
        title="incoming: 151 transfers the customer blind to 300; 150 answers",
        script=_SENT
        + """
            leg owner 150
            create B
            enter B main 150 exten 300
            enter B owner C
            hangup mob2 1 0 C phone M
            wait 4
            leave B owner C
            leave B main 150
            destroy B
            hangup main 0 2 150
        """,
        expected=_TO_150,
    ),
    Scenario(
        id="2-28",
        title="incoming: 151 transfers the customer blind to 300; the mobile answers",
        script=_SENT
        + """
            wait 3
            create B
            enter B sip2 C
            enter B mob2 300
            create C
            enter C main <unknown> exten 300
            enter C mob1 C exten none
            wait 4
            leave B sip2 C
            leave B mob2 300
            destroy B
            hangup mob2 1 2 - phone M
            leave C mob1 C
            leave C main
            destroy C
        """,
        expected=_TO_MOBILE,
    ),
    Scenario(
        id="2-29",
        title="incoming: 151 transfers the customer blind to 300; nobody answers",
        script=_SENT
        + """
            wait 18
            hangup main 0 0 -
        """,
        expected=msgspec.structs.replace(_TO_NOBODY, outcome="lost_in_transfer"),
    ),
    Scenario(
        id="2-30",
        title="incoming: 151 asks 300; nobody answers; 151 talks on with the customer",
        script=_ASKED
        + _TWO_LINES_TRIED
        + """
            wait 10
            leave B mgr C
            leave B ask1 151
            enter A mgr 300
            destroy B
            hangup mob2 1 0 151 phone M
            wait 2
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=_TO_NOBODY,
        # 300 is named by new_callerid alone: that 150 was rung, too, nobody tells.
        least=msgspec.structs.replace(_TO_NOBODY, consulted=(MOBILE,)),
    ),
)
