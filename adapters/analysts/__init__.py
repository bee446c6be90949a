"""For analysts: exports of events and projections, and SQL over an export or over the live tables."""
