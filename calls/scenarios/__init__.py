"""The built-in call scenarios: what hosts send for each kind of call, and the truth that must come out."""

from calls.scenarios.catalogue import catalogue
from calls.scenarios.script import Expected, Played, Scenario

__all__ = ["Expected", "Played", "Scenario", "catalogue"]
