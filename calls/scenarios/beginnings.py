"""What several scenarios have in common: the cast as a row shows it, ring plans, and how a call ends as a rule."""

from typing import Final

from calls.scenarios.script import Expected

CUSTOMER: Final = "+375290000101"
MOBILE: Final = "+375290000102"
LINE: Final = "0007001"
RESERVE: Final = "0007002"

GROUP_RUNG: Final = """
            leg main L1 C
            start main
            ncid main
            dial main 0 150,151,152
            leg mgr 151
"""
"""Three managers are rung at once; 151 (``mgr``) will take it."""

MOBILE_RUNG: Final = """
            leg mob1 M@5e0c71b2;1 L1
            leg mob2 M@5e0c71b2;2 C
            ncid mob1 sees C exten L1
            ncid mob2 sees L1
            leg mgr 151
            dial mob2 1 C M via L1
            leg sip1 L1 M
            ncid sip1 sees C
            dial mob2 1 C M via L2
            leg sip2 L2 M
            ncid sip2 sees C
"""
"""The mobile of a ring list is called for the customer, on one line and then on the other."""

GROUP_AND_MOBILE_RUNG: Final = (
    """
            leg main L1 C
            start main
            ncid main
            wait 2
            dial main 0 150,M,151,152
"""
    + MOBILE_RUNG
)

OUTGOING_TALK: Final = """
            leg main 151
            dial main 1 151 C
            leg ext L1 C
            ncid ext sees 151
            wait 3
            create A
            enter A ext 151
            enter A main <unknown> exten C
"""
"""151 (``main``) has dialled the customer (``ext``), and they talk in A."""

OUTGOING_ANSWERED: Final = Expected(
    direction="out",
    outcome="answered",
    customer=CUSTOMER,
    line=LINE,
    caller="151",
    answered_by="151",
    talked=("151",),
    phases=("ringing", "talking", "ended"),
)
OUTGOING_FAILED: Final = Expected(
    direction="out",
    outcome="not_answered",
    customer=CUSTOMER,
    line=LINE,
    caller="151",
    phases=("ringing", "ended"),
)
TAKEN_BY_151: Final = Expected(
    direction="in",
    outcome="answered",
    customer=CUSTOMER,
    line=LINE,
    rung=("150", "151", "152"),
    answered_by="151",
    talked=("151",),
    phases=("begun", "ringing", "talking", "ended"),
)
MISSED: Final = Expected(
    direction="in",
    outcome="missed",
    customer=CUSTOMER,
    line=LINE,
    rung=("150", "151", "152"),
    phases=("begun", "ringing", "ended"),
)
TALK_OF_152_WITH_150: Final = Expected(
    direction="internal",
    outcome="answered",
    caller="152",
    rung=("150",),
    answered_by="150",
    talked=("150",),
    phases=("begun", "talking", "ended"),
)
