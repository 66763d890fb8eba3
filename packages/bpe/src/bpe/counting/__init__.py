"""Count the pieces of a corpus on several CPUs."""
