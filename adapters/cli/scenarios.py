"""``callfold scenarios``: the built-in call scenarios, by the catalogue's ids."""

import click
import msgspec

from calls.scenarios import Scenario, catalogue


@click.command(epilog="\b\nExample:\n  callfold scenarios\n  callfold play 2-1")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list, with the row each must end in.")
def scenarios(*, as_json: bool) -> None:
    """List the built-in call scenarios; "plausible" are those that no recording exists of."""
    listed = catalogue()
    if as_json:
        click.echo(msgspec.json.encode([_fields(scenario) for scenario in listed.values()]))
        return
    width = max(len(name) for name in listed)
    for scenario in listed.values():
        click.echo(f"{scenario.id:<{width}}  {scenario.title}{' (plausible)' if scenario.plausible else ''}")


def _fields(scenario: Scenario) -> dict[str, object]:
    return {
        "id": scenario.id,
        "title": scenario.title,
        "plausible": scenario.plausible,
        "events": len(scenario.events(0.0, 0)),
        "expected": scenario.expected,
    }
