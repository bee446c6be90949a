"""Telegram: what a chat shows is brought to what it should show, within what the Bot API allows."""
