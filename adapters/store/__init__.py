"""The event store in PostgreSQL: one writer with group commit, readers that never skip."""
