"""Weights are copied into huge pages where there are some, and mapped elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.backends.process import worker_variables
from server.engine import huge_pages, model
from server.engine.model import _is_faster_read
from server.settings import child_environment

POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")

SCRIPT = """
import json, platform
from server.engine import huge_pages
print(json.dumps([*platform.libc_ver(), huge_pages.are_used()]))
"""


def test_flags_of_mappings_tell_who_asks() -> None:
    plain = "7f00-7f01 rw-p 0 00:00 0 [heap]\nRss: 4 kB\nVmFlags: rd wr mr mw me ac sd\n"
    asking = "7f00-7f01 rw-p 0 00:00 0 [hg]\nVmFlags: rd wr mr mw me ac sd hg\n"
    assert not huge_pages.any_asks(plain)
    assert huge_pages.any_asks(plain + asking)


@pytest.mark.skipif(not POLICY.exists(), reason="the kernel has no transparent huge pages")
def test_a_worker_asks_for_huge_pages() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=child_environment(worker_variables()),
        capture_output=True,
        check=True,
        timeout=60,
    )
    libc, version, are_used = json.loads(shown.stdout)
    policy = POLICY.read_text()
    can_ask = libc == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    assert are_used == ("[always]" in policy or (can_ask and "[madvise]" in policy))


@pytest.mark.parametrize(
    ("are_used", "room", "expected"), [(True, 20, True), (True, 19, False), (False, 20, False)]
)
def test_weights_are_mapped_where_memory_is_short_or_pages_are_small(
    are_used: bool, room: int, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(10))
    monkeypatch.setattr(huge_pages, "are_used", lambda: are_used)
    monkeypatch.setattr(model, "machine_room_bytes", lambda: room)
    assert _is_faster_read(path) == expected
