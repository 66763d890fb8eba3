"""Settings of all tests: no test fails because the machine is busy."""

from hypothesis import settings

settings.register_profile("no deadlines", deadline=None)
settings.load_profile("no deadlines")
