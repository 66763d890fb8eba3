"""Encode, decode and train tokenizers beside every peer."""
