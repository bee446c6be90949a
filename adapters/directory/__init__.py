"""The directory as a file that people write (CONTRACT 5)."""
