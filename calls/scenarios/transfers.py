"""Incoming calls that a manager transfers to another: 2-7 to 2-11 and 2-18."""

from typing import Final

import msgspec

from calls.scenarios.beginnings import GROUP_AND_MOBILE_RUNG, GROUP_RUNG, MOBILE, TAKEN_BY_151
from calls.scenarios.script import Scenario

_WITH_MOBILE: Final = msgspec.structs.replace(TAKEN_BY_151, rung=("150", MOBILE, "151", "152"))

TRANSFERS: Final = (
    Scenario(
        id="2-7",
        title="incoming: 151 answers, asks 152, who picks up and refuses; 151 talks on with the customer",
        script=GROUP_AND_MOBILE_RUNG
        + """
            create A
            enter A main 151
            enter A mgr C
            hangup mob2 1 0 C phone M
            wait 3
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B ask1 151
            ncid ask2
            enter B mgr C                # its leaving A is not told
            ncid ask1 sees 151
            create C
            leg colleague 152
            enter C ask2 152
            enter C colleague 151
            wait 2
            leave C colleague 151
            leave C ask2 152
            destroy C
            hangup ask2 2 2 152
            leave B ask1 151
            enter A mgr 152
            destroy B
            wait 3
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=msgspec.structs.replace(_WITH_MOBILE, consulted=("152",)),
    ),
    Scenario(
        id="2-8",
        title="incoming: 151 answers, asks 152, who takes over and talks with the customer",
        script=GROUP_AND_MOBILE_RUNG
        + """
            create A
            enter A main 151
            enter A mgr C
            hangup mob2 1 0 C phone M
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            ncid ask2
            leave A mgr C
            enter B mgr C
            ncid ask1 sees 151
            enter B ask1 151
            create C
            leg colleague 152
            enter C ask2 152
            enter C colleague 151
            leave B mgr 152
            leave B ask1 151
            enter A ask1 151
            destroy B
            leave A main 151
            enter C main 152
            leave C ask2 152
            ncid ask2 as C sees 152
            leave A ask1 151
            destroy A
            hangup ask2 2 2 152
            wait 3
            leave C colleague C
            leave C main 152
            destroy C
            hangup main 0 2 151
        """,
        expected=msgspec.structs.replace(_WITH_MOBILE, talked=("151", "152")),
    ),
    Scenario(
        id="2-9",
        title="incoming: 151 answers, asks 152, who is not there; 151 talks on with the customer",
        script=GROUP_AND_MOBILE_RUNG
        + """
            hangup mob2 1 0 C phone M
            create A
            enter A mgr C
            enter A main 151
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B ask1 151
            ncid ask2
            leave A mgr C
            enter B mgr C
            ncid ask1 sees 151
            wait 28
            leave B mgr C
            enter A mgr 152
            leave B ask1 151
            hangup ask2 2 0 -
            destroy B
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=msgspec.structs.replace(_WITH_MOBILE, consulted=("152",)),
        least=_WITH_MOBILE,  # only new_callerid names whom 151 asked
    ),
    Scenario(
        id="2-10",
        title="incoming: 151 answers and transfers the customer blind to 152, who answers",
        script=GROUP_AND_MOBILE_RUNG
        + """
            hangup mob2 1 0 C phone M
            create A
            enter A main 151
            enter A mgr C
            leave A mgr C
            leave A main 151
            destroy A
            wait 2
            leg target 152
            create B
            enter B target C
            enter B main 152 exten 152
            wait 2
            leave B target C
            leave B main 152
            destroy B
            hangup main 2 2 152
        """,
        expected=msgspec.structs.replace(_WITH_MOBILE, talked=("151", "152")),
    ),
    Scenario(
        id="2-11",
        title="incoming: 151 answers and transfers the customer blind to 152, who does not answer",
        script=GROUP_AND_MOBILE_RUNG
        + """
            hangup mob2 1 0 C phone M
            create A
            enter A mgr C
            enter A main 151
            leave A mgr C
            leave A main 151
            destroy A
            wait 19
            hangup main 2 0 152
        """,
        expected=msgspec.structs.replace(_WITH_MOBILE, outcome="lost_in_transfer", consulted=("152",)),
    ),
    Scenario(
        id="2-18",
        title="incoming: 151 answers, 152 takes over after being asked, then 150 after being asked by 152",
        script=GROUP_RUNG
        + """
            wait 2
            create A
            enter A main 151
            enter A mgr C
            wait 4
            create B
            enter B mgr C                # its leaving A is not told, nor 152's leaving C
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B ask1 151
            ncid ask2
            ncid ask1 sees 151
            create C
            leg second 152
            enter C ask2 152
            enter C second 151
            wait 3
            leave B mgr 152
            leave B ask1 151
            enter A ask1 151
            destroy B
            leave A main 151
            enter C main 152
            leave C ask2 152
            ncid ask2 as C sees 152
            hangup ask2 2 2 152
            leave A ask1 151
            destroy A
            wait 3
            create D
            enter D second C
            leg more1 150@dialexecute;1 150
            leg more2 150@dialexecute;2 152
            unseen enter D more1 152
            ncid more1 sees 152
            create E
            leg third 150
            enter E more2 150
            enter E third 152
            wait 3
            leave D second 150
            leave D more1 152
            enter C more1 152
            destroy D
            leave E third 152
            enter C third C
            leave C more1 152
            leave E more2 150
            ncid more2 as C sees 150
            destroy E
            hangup more2 2 2 150
            leave C third C
            leave C main 150
            destroy C
            wait 2
            hangup main 0 2 151
        """,
        expected=msgspec.structs.replace(TAKEN_BY_151, talked=("151", "152", "150")),
    ),
)
