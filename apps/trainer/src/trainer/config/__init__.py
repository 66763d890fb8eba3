"""Describe one run: its sections, their checks, and the presets."""
