"""Tracing, metrics and logs: set-up, and the names of spans and instruments."""
