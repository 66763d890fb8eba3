"""Run the commands: encode, decode, inspect, convert."""
