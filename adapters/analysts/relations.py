"""The relations that analysts see: their columns, in which order rows come, and by which day files are made.

An export, the views over it and the live views have these columns, in this order (docs/analysts.md).
"""

from typing import Final, Literal

import msgspec

from calls.facts import EVENT_KINDS

Kind = Literal["text", "texts", "integer", "count", "boolean", "time", "date", "seconds", "json"]
"""``integer`` has 64 bits, ``count`` 32; ``time`` is UTC with microseconds; ``seconds`` a decimal with six places;
``json`` a text that holds JSON."""

SECONDS_PRECISION: Final = 18
SECONDS_SCALE: Final = 6

POSTGRES: Final[dict[Kind, str]] = {
    "text": "text",
    "texts": "text[]",
    "integer": "bigint",
    "count": "integer",
    "boolean": "boolean",
    "time": "timestamptz",
    "date": "date",
    "seconds": f"numeric({SECONDS_PRECISION},{SECONDS_SCALE})",
    "json": "text",
}


class Column(msgspec.Struct, frozen=True):
    """A column; ``source`` is its expression over the table where it is no column of the same name."""

    name: str
    kind: Kind
    source: str = ""

    @property
    def expression(self) -> str:
        """The column's value over the table."""
        return self.source or self.name

    @property
    def sql(self) -> str:
        """The expression with its type and name, for a SELECT over the table."""
        return f"CAST({self.expression} AS {POSTGRES[self.kind]}) AS {self.name}"


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """A relation over the table ``table``.

    ``by``: the column that tells the day (by UTC) of a row's file, "" where all rows are in one file; ``key``: what
    orders rows of one day.
    """

    name: str
    table: str
    by: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    where: str = "true"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple([column.name for column in self.columns])

    @property
    def order(self) -> str:
        """What rows are ordered by."""
        return ", ".join([self.by, *self.key] if self.by else self.key)

    def select(self) -> str:
        """The relation read from a table, whose name ``{table}`` stands for."""
        listed = ", ".join([column.sql for column in self.columns])
        return f"SELECT {listed} FROM {{table}} WHERE {self.where}"  # noqa: S608 - constants of this file


def _columns(**kinds: Kind) -> tuple[Column, ...]:
    return tuple([Column(name, kind) for name, kind in kinds.items()])


_KINDS: Final = ", ".join([f"'{kind}'" for kind in EVENT_KINDS])

EVENTS: Final = Relation(
    name="events",
    table="facts",
    by="occurred_at",
    key=("position",),
    where=f"kind IN ({_KINDS})",
    columns=(
        Column("position", "integer"),
        Column("enterprise", "text"),
        Column("unique_id", "text", "CASE WHEN stream LIKE 'leg/%' THEN substr(stream, 5) ELSE '' END"),
        Column("version", "count"),
        Column("kind", "text"),
        Column("source", "text"),
        Column("occurred_at", "time"),
        Column("received_at", "time", "recorded_at"),
        Column("body", "json", "analyst.shown(body)"),
    ),
)
"""What hosts sent (CONTRACT 4.2), without its Tokens."""

CALLS: Final = Relation(
    name="calls",
    table="calls",
    by="started_at",
    key=("enterprise", "call_id"),
    columns=_columns(
        enterprise="text",
        call_id="text",
        direction="text",
        origin="text",
        outcome="text",
        customer="text",
        line="text",
        caller="text",
        dialled="text",
        rung="texts",
        answered_by="text",
        talked="texts",
        consulted="texts",
        started_at="time",
        answered_at="time",
        ended_at="time",
        wait_s="seconds",
        talk_s="seconds",
        total_s="seconds",
        source="text",
        legs="texts",
        recordings="texts",
        last_position="integer",
    ),
)

CUSTOMERS: Final = Relation(
    name="customers",
    table="customers",
    by="",
    key=("enterprise", "phone"),
    columns=_columns(
        enterprise="text",
        phone="text",
        name="text",
        first_seen_at="time",
        last_seen_at="time",
        in_total="count",
        in_answered="count",
        in_missed="count",
        out_total="count",
        out_answered="count",
        out_missed="count",
        last_call_at="time",
        last_direction="text",
        last_outcome="text",
        last_talked="texts",
        last_line="text",
    ),
)

LEGS: Final = Relation(
    name="legs",
    table="legs",
    by="first_at",
    key=("enterprise", "unique_id"),
    columns=_columns(
        enterprise="text",
        unique_id="text",
        call_id="text",
        role="text",
        number="text",
        leads="boolean",
        first_at="time",
        last_at="time",
        entered_at="time",
        left_at="time",
        hung_up_at="time",
        answered="boolean",
    ),
)

CALL_AGENTS: Final = Relation(
    name="call_agents",
    table="call_agents",
    by="day",
    key=("enterprise", "call_id", "extension"),
    columns=_columns(
        enterprise="text",
        call_id="text",
        extension="text",
        day="date",
        rung="boolean",
        answered="boolean",
        talked_s="seconds",
        transfers_in="count",
        transfers_out="count",
        missed="boolean",
        lost="boolean",
    ),
)

AGENTS: Final = Relation(
    name="agents",
    table="agents",
    by="day",
    key=("enterprise", "extension"),
    columns=_columns(
        enterprise="text",
        extension="text",
        day="date",
        calls="count",
        rung="count",
        answered="count",
        missed="count",
        lost="count",
        talked_s="seconds",
        transfers_in="count",
        transfers_out="count",
    ),
)

TRAFFIC: Final = Relation(
    name="traffic",
    table="traffic",
    by="hour",
    key=("enterprise", "line", "direction"),
    columns=_columns(
        enterprise="text",
        line="text",
        direction="text",
        hour="time",
        begun="count",
        answered="count",
        missed="count",
        lost="count",
        wait_p50_s="seconds",
        wait_p90_s="seconds",
        talk_p50_s="seconds",
        talk_p90_s="seconds",
    ),
)

HOSTS: Final = Relation(
    name="hosts",
    table="hosts",
    by="",
    key=("enterprise",),
    columns=_columns(
        enterprise="text",
        events="integer",
        recovered="integer",
        first_event_at="time",
        last_event_at="time",
        longest_silence_s="seconds",
        longest_silence_at="time",
        gaps="count",
        skew_s="seconds",
        skew_at="time",
    ),
)

RELATIONS: Final = (EVENTS, CALLS, LEGS, CALL_AGENTS, AGENTS, TRAFFIC, CUSTOMERS, HOSTS)
"""All of them, in the order in which they are exported and documented."""
