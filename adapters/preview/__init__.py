"""The preview: a Bot API stand-in inside the service, and the page that shows what a subscriber would see."""
