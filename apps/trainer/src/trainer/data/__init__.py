"""Find text, turn it into tokens, and cut training windows out of them."""
