"""Run the commands: parse arguments, load a configuration, call one function."""
