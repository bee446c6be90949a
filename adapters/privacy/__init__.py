"""Forgetting a person, and keeping what was forgotten from coming back (docs/decisions/0015-privacy.md)."""
