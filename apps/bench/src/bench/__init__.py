"""Compare this repository with its peers, one command per subject."""
