"""Compare encoding, decoding and training of tokenizers with every peer."""
