"""Choose the text and the vocabulary for all measurements."""
