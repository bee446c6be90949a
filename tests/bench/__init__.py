"""The benchmark suite (DESIGN, Measures): ``python -m tests.bench``. How and why: docs/decisions/0004-measures.md."""
