"""nn-layers."""
