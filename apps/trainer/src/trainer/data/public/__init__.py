"""Fetch public datasets."""
