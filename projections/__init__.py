"""Folds of the event store into tables that analysts read."""
