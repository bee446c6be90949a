"""The bot that listens: joining, asking about calls, wishes, buttons (docs/decisions/0009-bot.md)."""
