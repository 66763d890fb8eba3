"""Show and record the progress of a run."""
