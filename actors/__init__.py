"""One actor per UniqueId: mailboxes, routing, supervision, recovery."""
