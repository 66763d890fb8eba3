"""Search for inputs that break a loader, or separate a kernel from its reference."""
