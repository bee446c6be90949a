"""What was with a customer before a call, for many calls at once (calls.cards.History)."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from calls.call import Call
from calls.cards import History

MOST_COUNTED: Final = 1_000
"""Earlier calls that are counted; whoever called more often is shown with this number."""

_BEFORE: Final = f"""
SELECT counted.calls, newest.started_at, newest.outcome, newest.talked
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY
     AS wanted (enterprise, customer, started_at, place)
CROSS JOIN LATERAL (
  SELECT count(*) AS calls FROM (
    SELECT FROM calls
    WHERE calls.enterprise = wanted.enterprise AND calls.customer = wanted.customer
      AND calls.started_at < wanted.started_at AND calls.outcome <> 'open'
    LIMIT {MOST_COUNTED}
  ) AS earlier
) AS counted
LEFT JOIN LATERAL (
  SELECT started_at, outcome, talked FROM calls
  WHERE calls.enterprise = wanted.enterprise AND calls.customer = wanted.customer
    AND calls.started_at < wanted.started_at AND calls.outcome <> 'open'
  ORDER BY started_at DESC LIMIT 1
) AS newest ON true
ORDER BY wanted.place
"""


async def read_histories(pool: asyncpg.Pool, calls: Sequence[Call]) -> list[History]:
    """For each call with a customer, what the calls that began earlier say; in the same order.

    Raises what asyncpg raises.
    """
    rows = await pool.fetch(
        _BEFORE,
        [call.enterprise for call in calls],
        [call.customer for call in calls],
        [call.started_at for call in calls],
    )
    return [
        History(
            calls=row["calls"],
            last_at=row["started_at"],
            last_outcome=row["outcome"],
            last_talker=row["talked"][-1] if row["talked"] else None,
        )
        for row in rows
    ]
