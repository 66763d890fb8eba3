"""Describe runs and studies in sentences."""
