"""Check arguments, and write messages that stay short."""
