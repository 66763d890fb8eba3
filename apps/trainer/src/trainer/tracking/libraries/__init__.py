"""Show runs elsewhere: each module is a tracker, and its name is the option's value."""
