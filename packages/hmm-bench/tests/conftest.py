"""Settings of all tests of this package."""

from hypothesis import settings

# Busy machines run these tests, too: how long an example takes there says nothing.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
