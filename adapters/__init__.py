"""Everything that touches the world: HTTP, PostgreSQL, Telegram, the command line."""
