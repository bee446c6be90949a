"""Recordings of calls: files under DATA_DIR, their ids, what a host may give (docs/decisions/0010-recordings.md)."""
