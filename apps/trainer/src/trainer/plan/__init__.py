"""Decide how a run computes, and predict what it takes."""
