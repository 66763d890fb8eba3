"""Describe one run: its sections, their checks, and presets as TOML."""
