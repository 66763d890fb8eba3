"""Fetch the public datasets."""
