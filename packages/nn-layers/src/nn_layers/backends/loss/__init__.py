"""Compute the loss: a module is a backend, its name the option's value."""
