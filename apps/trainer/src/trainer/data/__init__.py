"""Find text, turn it into tokens, and cut training windows from them."""
