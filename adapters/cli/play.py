"""``callfold play``: a scenario or a recorded file, sent as an Asterisk host would (CONTRACT 2)."""

import asyncio
import difflib
import math
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from adapters.asterisk.recorded import read_recorded
from adapters.asterisk.sender import Pace, Sender, Sent, TimedEvent, host_json, offsets, send_all
from adapters.cli.failures import CommandFailed
from adapters.cli.progress import steps
from adapters.settings import load_settings
from calls.scenarios import Scenario, catalogue
from otel.redaction import redact_text

_NAMED_FAILURES: Final = 5


class _Speed(click.ParamType[Pace]):
    name = "X|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Pace:
        if isinstance(value, Pace):
            return value
        try:
            return Pace.parse(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number above 0 nor max", param, ctx)


@click.command(
    epilog="\b\nExample:\n"
    "  callfold play 2-1\n"
    "  callfold play 2-1 --speed max --token 375290000000\n"
    "  callfold play day.jsonl --speed 10 --url http://127.0.0.1:8000"
)
@click.argument("what", metavar="SCENARIO_OR_FILE.jsonl")
@click.option("--url", help="Where the service is.  [default: HOST and PORT of the settings]")
@click.option("--token", help="Replaces the Token in bodies and header.  [default: as it stands there]")
@click.option(
    "--speed", type=_Speed(), default="1", show_default=True, help="Factor over the recorded times."
)
@click.option("--keep-alive", is_flag=True, help="One connection for all events instead of one for each.")
@click.option(
    "--least", is_flag=True, help="Of a scenario only start, dial, bridge, hangup, as most hosts do."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end and nothing else.")
def play(
    *,
    what: str,
    url: str | None,
    token: str | None,
    speed: Pace,
    keep_alive: bool,
    least: bool,
    as_json: bool,
) -> None:
    """Send a scenario (fresh ids and times) or a recorded file (verbatim) as an Asterisk host would.

    One event after the other, each tried once, 3 s timeout, Token in header and body. Fails if an event is
    not answered 200.
    """
    events = _events(what, speed, least=least)
    if not events:
        raise CommandFailed(f"{what} holds no events")
    url = url or load_settings(os.environ, Path.cwd()).base_url
    try:
        sender = Sender(url, token=token, keep_alive=keep_alive)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error
    began = time.perf_counter()
    sent = asyncio.run(_send(sender, events, speed, as_json=as_json))
    took = time.perf_counter() - began
    if as_json:
        click.echo(msgspec.json.encode(_summary(sent, took)))
    else:
        slowest = max(sent, key=lambda one: one.seconds)
        click.echo(f"{len(sent)} events in {took:.1f} s, slowest: {slowest.event} {_ms(slowest)} ms")
    _fail_unless_stored(sent, url)


def _events(what: str, pace: Pace, *, least: bool) -> list[TimedEvent]:
    scenario = catalogue().get(what)
    if scenario is not None:
        return _of_scenario(scenario, pace, least=least)
    path = Path(what)
    if not path.exists():
        near = difflib.get_close_matches(what, catalogue(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`callfold scenarios` lists what there is"
        raise click.BadParameter(
            f"{what!r} is neither a scenario nor a file; {hint}", param_hint="SCENARIO_OR_FILE"
        )
    if least:
        raise click.BadParameter("a file is sent as it is", param_hint="--least")
    recorded = list(read_recorded(path))
    times = offsets([one.t for one in recorded])
    return [TimedEvent(offset, one.event, one.raw) for offset, one in zip(times, recorded, strict=True)]


def _of_scenario(scenario: Scenario, pace: Pace, *, least: bool) -> list[TimedEvent]:
    seed = secrets.randbits(63)
    when = [one.offset for one in scenario.events(0.0, seed)]
    first, last = when[0], when[-1]
    # A hangup tells when the call ended. However fast it is sent, that must not be a time yet to come.
    ends = time.time() + pace.due(last - first)
    events = scenario.events(math.floor(ends - last), seed, least=least)
    return [TimedEvent(one.offset - first, one.kind, host_json(one.body)) for one in events]


async def _send(sender: Sender, events: Sequence[TimedEvent], pace: Pace, *, as_json: bool) -> list[Sent]:
    sent: list[Sent] = []
    async with sender, aclosing(send_all(sender, events, pace)) as results:
        if as_json:
            return [one async for one in results]
        with steps("sending", len(events)) as step:
            async for one in results:
                sent.append(one)
                step(_line(one))
    return sent


def _line(sent: Sent) -> str:
    line = f"{sent.event:<14} {sent.status or '---'} {_ms(sent):>6} ms"
    return line if sent.stored else f"{line}  {_why(sent)}"


def _ms(sent: Sent) -> int:
    return round(sent.seconds * 1000)


def _why(sent: Sent) -> str:
    return sent.problem or redact_text(" ".join(sent.answer.split()))


def _summary(sent: list[Sent], took: float) -> dict[str, object]:
    slowest = max(sent, key=lambda one: one.seconds)
    return {
        "count": len(sent),
        "stored": sum(one.stored for one in sent),
        "seconds": round(took, 3),
        "slowest": {"event": slowest.event, "ms": _ms(slowest)},
        "events": [
            {
                "event": one.event,
                "unique_id": one.unique_id,
                "status": one.status,
                "ms": _ms(one),
                "problem": None if one.stored else _why(one),
            }
            for one in sent
        ],
    }


def _fail_unless_stored(sent: list[Sent], url: str) -> None:
    failed = [(place, one) for place, one in enumerate(sent, start=1) if not one.stored]
    if not failed:
        return
    named = ", ".join(
        f"{one.event} #{place} ({one.status or one.problem})" for place, one in failed[:_NAMED_FAILURES]
    )
    more = f" and {len(failed) - _NAMED_FAILURES} more" if len(failed) > _NAMED_FAILURES else ""
    hint = f"; is the service running at {url}?" if all(one.status is None for one in sent) else ""
    raise CommandFailed(f"{len(failed)} of {len(sent)} events were not answered 200: {named}{more}{hint}")
