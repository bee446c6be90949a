"""The archive: old months as Parquet, moved out of the tables and back, and read with them (docs/decisions/0011)."""
