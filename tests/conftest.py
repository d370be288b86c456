"""For all tests."""

from hypothesis import settings

# The first example may import a library for seconds; speed is measured in benchmarks/.
settings.register_profile("repository", deadline=None)
settings.load_profile("repository")
