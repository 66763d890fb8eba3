"""Choose the text and the vocabulary that everyone is measured on."""
