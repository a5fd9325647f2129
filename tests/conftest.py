"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell's job in the background ignores SIGINT, and so would each program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in each run: a landing must not depend on luck. `--hypothesis-seed=N` explores others.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

# They need an environment of their own: `make test-clients`.
collect_ignore = ["clients"]
