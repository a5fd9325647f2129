from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from server.hardware.ram import (
    CgroupMemory,
    Ram,
    cgroup_paths,
    model_name,
    processor_utilization,
    ram_now,
    read_cgroup,
    resident_bytes,
    within_cgroup,
)

RAM = Ram(total_bytes=100, available_bytes=80)


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (None, RAM),
        (CgroupMemory(limit_bytes=200, used_bytes=150), RAM),
        (CgroupMemory(limit_bytes=50, used_bytes=20), Ram(total_bytes=50, available_bytes=30)),
        (CgroupMemory(limit_bytes=90, used_bytes=5), Ram(total_bytes=90, available_bytes=80)),
        (CgroupMemory(limit_bytes=50, used_bytes=60), Ram(total_bytes=50, available_bytes=0)),
    ],
)
def test_lower_limit_counts(cgroup: CgroupMemory | None, expected: Ram) -> None:
    assert within_cgroup(RAM, cgroup) == expected


def test_used_memory_is_what_cannot_be_given_back() -> None:
    assert RAM.used_bytes == 20


def test_folders_of_version_2_up_to_the_root(tmp_path: Path) -> None:
    assert cgroup_paths("0::/user.slice/app\n", tmp_path) == (
        (tmp_path / "user.slice/app", True),
        (tmp_path / "user.slice", True),
        (tmp_path, True),
    )


def test_folders_of_version_1(tmp_path: Path) -> None:
    paths = cgroup_paths("5:devices:/\n4:memory:/box\n", tmp_path)
    assert paths == ((tmp_path / "memory/box", False), (tmp_path / "memory", False))


def test_membership_that_is_none_has_no_folders(tmp_path: Path) -> None:
    assert cgroup_paths("", tmp_path) == ()
    assert cgroup_paths("nonsense\n", tmp_path)[-1] == (tmp_path, True)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_limit_of_version_2_without_pages_that_can_be_dropped(tmp_path: Path) -> None:
    write(tmp_path, memory__max="1000\n", memory__current="600\n", memory__stat="anon 1\ninactive_file 250\n")
    assert read_cgroup(tmp_path, is_v2=True) == CgroupMemory(limit_bytes=1000, used_bytes=350)


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    assert read_cgroup(tmp_path, is_v2=True) is None
    write(tmp_path, memory__max="max\n", memory__current="600\n", memory__stat="")
    assert read_cgroup(tmp_path, is_v2=True) is None
    write(tmp_path, memory__limit_in_bytes=f"{2**63 - 4096}\n", memory__usage_in_bytes="1\n")
    assert read_cgroup(tmp_path, is_v2=False) is None


def test_limit_of_version_1(tmp_path: Path) -> None:
    write(
        tmp_path,
        memory__limit_in_bytes="1000\n",
        memory__usage_in_bytes="400\n",
        memory__stat="inactive_file 10\ntotal_inactive_file 20\n",
    )
    assert read_cgroup(tmp_path, is_v2=False) == CgroupMemory(limit_bytes=1000, used_bytes=380)


def test_processor_model_is_the_first() -> None:
    assert model_name("processor\t: 0\nmodel name\t: EPYC 9\n\nmodel name\t: other\n") == "EPYC 9"
    assert model_name("processor : 0\n") == ""


def test_this_machine() -> None:
    ram = ram_now()
    assert 0 < ram.available_bytes <= ram.total_bytes
    assert 0.0 <= processor_utilization()() <= 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_of_a_process_is_known_as_long_as_it_is_there() -> None:
    assert (resident_bytes(os.getpid()) or 0) > 1 << 20
    assert resident_bytes(-1) is None
