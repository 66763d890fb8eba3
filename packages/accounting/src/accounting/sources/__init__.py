"""Read a model's shape from a preset, a configuration or a weights file."""
