"""Hold calculators of parameters, FLOPs and memory to measurements."""
