"""Write files that are complete or absent, and lay out run directories."""
