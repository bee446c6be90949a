"""Incoming calls transferred to a manager who is on the phone with another: 2-19 to 2-22, two calls each."""

from typing import Final

import msgspec

from calls.scenarios.beginnings import GROUP_RUNG, TAKEN_BY_151, TALK_OF_152_WITH_150
from calls.scenarios.script import Scenario

_INNER_TALK: Final = """
            leg inner 152
            leg friend 150
            create I
            enter I inner 150 exten 150
            enter I friend 152
            wait 4
"""
_INNER_END: Final = """
            wait 3
            leave I friend 152
            leave I inner 150
            destroy I
            hangup inner 2 2 150
"""
_LOST: Final = msgspec.structs.replace(TAKEN_BY_151, outcome="lost_in_transfer", consulted=("152",))
_BACK: Final = msgspec.structs.replace(TAKEN_BY_151, consulted=("152",))

ENGAGED: Final = (
    Scenario(
        id="2-19",
        title="incoming: 151 transfers the customer blind to 152, who talks with 150 and does not take the call",
        script=_INNER_TALK
        + GROUP_RUNG
        + """
            wait 3
            create A
            enter A mgr C
            enter A main 151
            wait 5
            leave A mgr C
            leave A main 151
            destroy A
            wait 22
            hangup main 2 0 152
        """
        + _INNER_END,
        expected=_LOST,
        beside=(TALK_OF_152_WITH_150,),
    ),
    Scenario(
        id="2-20",
        title="incoming: 151 asks 152, who talks with 150 and does not take the call; 151 talks on",
        script=_INNER_TALK
        + """
            leg main L2 C                # a line's gateway is found by its address: the channel is another line's
            start main via L1
            ncid main
            dial main 0 150,151,152
            leg mgr 151
            wait 2
            create A
            enter A mgr C
            enter A main 151
            wait 3
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B ask1 151
            ncid ask2
            ncid ask1 sees 151
            leave A mgr C
            enter B mgr C
            wait 15
            leave B mgr C
            leave B ask1 151
            enter A mgr 152
            destroy B
            hangup ask2 2 0 152
        """
        + _INNER_END
        + """
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """,
        expected=_BACK,
        beside=(TALK_OF_152_WITH_150,),
    ),
    Scenario(
        id="2-21",
        title="incoming: 151 transfers the customer blind to 152, whose phone is busy and refuses at once",
        script=_INNER_TALK
        + GROUP_RUNG
        + """
            wait 2
            create A
            enter A mgr C
            enter A main 151
            wait 4
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 2 0 152
        """
        + _INNER_END,
        expected=_LOST,
        beside=(TALK_OF_152_WITH_150,),
        plausible=True,
    ),
    Scenario(
        id="2-22",
        title="incoming: 151 asks 152, whose phone is busy and refuses at once; 151 talks on",
        script=_INNER_TALK
        + GROUP_RUNG
        + """
            wait 2
            create A
            enter A main 151
            enter A mgr C
            wait 4
            create B
            leg ask1 152@dialexecute;1 152
            leg ask2 152@dialexecute;2 151
            unseen enter B ask1 151
            ncid ask2
            ncid ask1 sees 151
            enter B mgr C                # its leaving A is not told
            leave B mgr C
            leave B ask1 151
            enter A mgr 152
            destroy B
            hangup ask2 2 0 152
            wait 5
            leave A mgr C
            leave A main 151
            destroy A
            hangup main 0 2 151
        """
        + _INNER_END,
        expected=_BACK,
        beside=(TALK_OF_152_WITH_150,),
        plausible=True,
    ),
)
