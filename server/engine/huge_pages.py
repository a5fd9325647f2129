"""Whether what llama.cpp allocates lies in huge pages.

A step reads all weights once. With pages of 4 KiB each page costs a look-up of its address, which in a
virtual machine is one in two tables. glibc asks the kernel for pages of 2 MiB where the worker was started
with its tunable `glibc.malloc.hugetlb=1`; mapped files lie in whatever pages the kernel has cached them in.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

_POLICY: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPPINGS: Final = Path("/proc/self/smaps")


@functools.cache
def are_used() -> bool:
    """Whether this process gets huge pages: all do, or its allocator asks and the kernel listens.

    The look takes 6 ms, so a worker has it behind it before there is a model to load.
    """
    try:
        policy = _POLICY.read_text()
        if "[madvise]" in policy:
            return any_asks(_MAPPINGS.read_text())
    except OSError:
        return False
    return "[always]" in policy


def any_asks(mappings: str) -> bool:
    """Whether huge pages were asked for in one of the mappings, as `/proc/PID/smaps` lists them."""
    flags = (line.split() for line in mappings.splitlines() if line.startswith("VmFlags:"))
    return any("hg" in names for names in flags)
