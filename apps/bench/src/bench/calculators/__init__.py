"""Compare calculators of parameters, FLOPs and memory with measurements."""
