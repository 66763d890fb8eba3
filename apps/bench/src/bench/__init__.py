"""Measure this repository side by side with its peers, a command a subject."""
