"""Take optimizer steps, one after another."""
