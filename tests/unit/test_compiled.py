"""The compiled modules of the fold and their sources are the same program."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from calls import is_compiled
from calls.groups import BoardLeg, Group
from calls.parties import Party
from calls.scenarios import catalogue
from calls.ties import Tie
from tests.folding import EPOCH, ended, played_facts

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = CONFIG["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]


def rows() -> list[str]:
    """Every scenario's calls, with all that they tell; as hosts send everything, and as they send the least."""
    return [
        f"{number} {call!r}"
        for number, scenario in catalogue().items()
        for least in (False, True)
        for call in ended(played_facts(scenario.events(1777885200.0, 1, least=least)))
    ]


@pytest.mark.skipif(not is_compiled(), reason="the fold is not compiled here: no C compiler, or told not to")
def test_interpreted_it_tells_every_scenario_alike(tmp_path):
    shutil.copytree(ROOT / "calls", tmp_path / "calls", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    script = (
        "from calls import is_compiled; from tests.unit.test_compiled import rows; assert not is_compiled();"
        "print(*rows(), sep='\\n')"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == rows()


def test_every_module_that_is_to_be_compiled_is_there_and_stores_nothing():
    for module in MODULES:
        source = (ROOT / module).read_text()
        assert "Struct" not in source, f"{module}: a compiled class loses the keywords and types of a Struct"


def test_values_are_equal_by_their_parts_and_say_what_they_are():
    assert Party("person", "151") == Party("person", "151") != Party("person", "152")
    assert Tie("151", "", "dial") != Party("person", "151")
    assert len({Party("person", "151"), Party("person", "151")}) == 1
    assert repr(Party("person", "151")) == "Party('person', '151')"


def test_legs_of_the_switchboard_are_themselves_and_not_their_parts():
    assert Group("1.1") != Group("1.1")
    group = Group("1.1")
    assert BoardLeg("1.1", group, EPOCH) != BoardLeg("1.1", group, EPOCH)
