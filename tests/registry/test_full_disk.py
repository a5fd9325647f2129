"""A disk that gets full while a model is pulled: a real one, in memory, in a namespace of its own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.full_disk import DISK_BYTES, WEIGHTS

ALONE = ("unshare", "--map-root-user", "--mount", "sh", "-ec")


def mounting(folder: Path) -> str:
    """The shell's words for a small disk on a folder."""
    return f"mount -t tmpfs -o size={DISK_BYTES} none {shlex.quote(str(folder))}"


def test_a_full_disk_is_told_and_the_pull_goes_on_once_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run([*ALONE, mounting(disk)], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk of its own can be mounted here: {error}")
    python = shlex.join([sys.executable, "-P", "-m", "tests.support.full_disk", str(disk)])
    done = subprocess.run(
        [*ALONE, f"{mounting(disk)}; exec {python}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    refused, broken_off, whole = map(json.loads, done.stdout.splitlines())

    assert refused["end"].startswith("DiskFull: ") and "more on the disk of the model store" in refused["end"]
    assert (refused["asked_bytes"], refused["partial_bytes"]) == (0, 0)

    assert broken_off["end"].startswith("DiskFull: no room left on the disk of the model store")
    assert "olla rm" in broken_off["hint"]
    assert 0 < broken_off["partial_bytes"] < len(WEIGHTS)
    assert not broken_off["has_blob"]

    assert (whole["end"], whole["has_blob"], whole["partial_bytes"]) == ("success", True, 0)
    assert whole["asked_bytes"] < len(WEIGHTS)
