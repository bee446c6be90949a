"""Recovery: events that hosts could not deliver, fed afterwards (CONTRACT 2 and 7; docs/decisions/0012)."""
