"""PostgreSQL: the embedded server or one by DATABASE_URL, its schema, and what can go wrong with either."""
