"""`olla gc` and `olla fsck` on a real store."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.e2e.conftest import Served, serving


def test_gc_lists_then_frees_exactly_that_and_fsck_finds_what_is_broken(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        check(served)


def check(served: Served) -> None:
    """Of a server with one model and nothing else in its store."""
    assert served.run("fsck").returncode == 0
    blobs = Path(served.environ["OLLAMA_MODELS"]) / "blobs"
    before = {path.name for path in blobs.iterdir()}
    orphan = blobs / f"sha256-{'a' * 64}"
    orphan.write_bytes(b"orphan")
    then = time.time() - 7200
    os.utime(orphan, (then, then))

    listed = served.run("gc", "--dry-run")
    assert listed.returncode == 0
    assert f"blobs/{orphan.name}" in listed.stdout
    assert "Nothing was removed." in listed.stdout
    assert orphan.exists()

    broken = served.run("fsck")
    assert broken.returncode == 1
    assert "its bytes are not those of its name" in broken.stdout
    assert "1 error." in broken.stdout
    assert served.run("fsck", "--quick").returncode == 0

    freed = served.run("gc")
    assert "Removed 1 item" in freed.stdout
    assert {path.name for path in blobs.iterdir()} == before
    assert served.run("gc", "--age", "0").stdout == "Nothing to remove.\n"
    assert served.run("fsck").stdout == "The store is whole.\n"
    wrong = served.run("gc", "--age", "soon")
    assert (wrong.returncode, "use 30m, 12h or 7d" in wrong.stderr) == (1, True)
