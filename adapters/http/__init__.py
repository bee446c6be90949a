"""HTTP: what hosts send, what people and scripts read, the pages."""
