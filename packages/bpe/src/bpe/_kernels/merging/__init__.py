"""Learn merges in compiled code."""
