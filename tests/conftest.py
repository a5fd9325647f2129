"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples in each run: a landing must not depend on luck. `--hypothesis-seed=N` explores others.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

# They need an environment of their own: `make test-clients`.
collect_ignore = ["clients"]
