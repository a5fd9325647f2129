"""The command line against replies recorded from a real Ollama.

Compared are the exit code, stdout and stderr, folded: escape sequences and blank lines go, runs of spaces
become two, repeated lines one, and what depends on machine or moment is replaced. Where we differ on purpose,
`tests/golden/known_cli_differences.toml` says which parts and why; an entry that is no longer a difference
fails too.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import struct
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BUNDLED, MODELS, ROOT, Served

GOLDEN = ROOT / "tests" / "golden"
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "cli.json").read_text())
DIFFERENCES: dict[str, dict[str, Any]] = tomllib.loads((GOLDEN / "known_cli_differences.toml").read_text())

DURATION = r"\d[\d.]*(?:ns|µs|ms|s|m|h)(?:\d[\d.]*(?:ms|s|m))*"
AGO = (
    r"(?:Less than a second|About an? \w+|\d+ (?:second|minute|hour|day|week|month|year)s?) (?:ago|from now)"
    "|Never|Forever|Stopping\\.\\.\\."
)
VARIABLE = (
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
    (r"(?m)\S*/blobs/sha256-[0-9a-f]{64}", "$PATH/blobs/sha256-<digest>"),
    (r"(copying file sha256:<digest>) \d+%", r"\1"),
    (AGO, "<ago>"),
    (rf"(duration:) +{DURATION}", r"\1 <time>"),
    (rf"\(e\.g\. {DURATION}\)", "(e.g. <time>)"),
    (r"(rate:) +[\d.]+ tokens/s", r"\1 <rate>"),
    (r"\b[0-9a-f]{12}\b", "<id>"),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"Ollama", "Olla"),
    (r"\b(?:ollama|olla)\b", "PROGRAM"),
    (r"(PROGRAM version is) \S+", r"\1 <version>"),
    (r" {2,}", "  "),
    (r"(?m) +$", ""),
    (r"\n{2,}", "\n"),
)


def folded(text: str) -> str:
    """A text without what may differ."""
    for pattern, replacement in VARIABLE:
        text = re.sub(pattern, replacement, text)
    text = re.sub(r"duration: +<time>", "duration: <time>", text)
    text = re.sub(r"rate: +<rate>", "rate: <rate>", text)
    return "\n".join(line for line, _ in groupby(text.strip("\n").split("\n")))


def comparable(name: str, part: str, text: str) -> object:
    """A folded text in the form in which two of them are compared."""
    text = folded(text)
    if name in ("list", "ls", "ps", "ps-after") and part == "stdout":
        head, *rows = text.split("\n")
        # Memory that a loaded model takes depends on the runtime; the order of rows is free.
        return head, sorted(
            re.sub(r"\d+ MB", "<size>", row) if name.startswith("ps") else row for row in rows
        )
    if name == "show-modelfile" and part == "stdout":
        return sorted(text.split("\n"))
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Modelfiles, with the model files that they name."""
    folder = tmp_path_factory.mktemp("modelfiles")
    shutil.copytree(GOLDEN / "modelfiles", folder, dirs_exist_ok=True)
    shutil.copy(BUNDLED / "spark.gguf", folder)
    shutil.copy(MODELS / "spark-f16.gguf", folder)
    (folder / "broken.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + b"\xff" * 16)
    return folder


@pytest.fixture(scope="module")
def differing(served: Served, folder: Path) -> dict[str, list[str]]:
    """The parts of each case that differ, every command run once and in order."""
    for model in ("plain", "minilm", "spark"):
        served.run("stop", model)
    return {name: differing_parts(served, folder, name) for name in CASES}


def differing_parts(served: Served, folder: Path, name: str) -> list[str]:
    case = CASES[name]
    done = served.run(*shlex.split(case["args"]), stdin=case["stdin"], cwd=folder)
    parts = ["exit"] if done.returncode != case["exit"] else []
    for part, got in (("stdout", done.stdout), ("stderr", done.stderr)):
        if not is_equal(name, part, got, case[part]):
            print(f"--- {name} {part}: expected\n{folded(case[part])}\n+++ got\n{folded(got)}")
            parts.append(part)
    return parts


def is_equal(name: str, part: str, got: str, expected: str) -> bool:
    if name == "run-embed" and part == "stdout":
        return vectors_are_close(got, expected)
    return comparable(name, part, got) == comparable(name, part, expected)


def vectors_are_close(got: str, expected: str) -> bool:
    """Whether both are vectors of the same direction. One recorded number was taken for an id."""
    left, right = json.loads(got), json.loads(expected.replace("0.<id>", "0.0"))
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if b != 0.0]
    dot = sum(a * b for a, b in pairs)
    norms = sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs)
    return bool(dot / norms**0.5 > 0.999)


@pytest.mark.parametrize("name", CASES)
def test_the_command_answers_as_ollamas(differing: dict[str, list[str]], name: str) -> None:
    assert differing[name] == DIFFERENCES.get(name, {}).get("parts", [])


def test_every_difference_has_a_case_and_a_reason() -> None:
    assert set(DIFFERENCES) <= set(CASES)
    assert all(entry["reason"].strip() and entry["parts"] for entry in DIFFERENCES.values())
