"""The trackers: a module is a tracker, its name the option's value."""
