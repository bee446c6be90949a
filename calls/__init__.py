"""The domain: what Asterisk says, folded into the truth about each call. Pure."""
