"""Measure how well a model predicts held-out text, and draw its loss curve."""
