"""``callfold scenarios``: the built-in call scenarios, by the catalogue's ids."""

import click
import msgspec

from calls.scenarios import Scenario, catalogue


@click.command(epilog="\b\nExample:\n  callfold scenarios\n  callfold play 2-1")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list, with the rows each must end in.")
def scenarios(*, as_json: bool) -> None:
    """List the built-in call scenarios.

    "plausible" are those that no recording exists of; "two calls" go on at the same time, and end in a row and a
    message each.
    """
    listed = catalogue()
    if as_json:
        click.echo(msgspec.json.encode([_fields(scenario) for scenario in listed.values()]))
        return
    width = max(len(name) for name in listed)
    for scenario in listed.values():
        click.echo(f"{scenario.id:<{width}}  {scenario.title}{_marks(scenario)}")


def _marks(scenario: Scenario) -> str:
    marks = ["two calls"] if scenario.beside else []
    marks += ["plausible"] if scenario.plausible else []
    return f" ({', '.join(marks)})" if marks else ""


def _fields(scenario: Scenario) -> dict[str, object]:
    return {
        "id": scenario.id,
        "title": scenario.title,
        "plausible": scenario.plausible,
        "events": len(scenario.events(0.0, 0)),
        "expected": scenario.expected,
        "beside": scenario.beside,
    }
