"""Display results as tables and pictures."""
