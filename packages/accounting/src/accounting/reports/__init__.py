"""Lay out figures as tables, JSON and charts."""
