"""Asterisk hosts, seen from outside: their recorded events, and how they send."""
