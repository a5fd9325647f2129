"""Every row of `docs/api-compat.md` has tests that show it: `compat_rows.toml` names them."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ROWS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "compat_rows.toml").read_text())["row"]


def rows_of_the_document() -> list[str]:
    """A row by its first cell and the next one that says something; exchanges have a test of their own."""
    text = (ROOT / "docs" / "api-compat.md").read_text().partition("## Exchanges that differ")[0]
    found = []
    for line in text.splitlines():
        if not line.startswith("| ") or line.startswith(("| ---", "| Route |", "| What |")):
            continue
        first, ollama, olla, _ = (cell.strip() for cell in line[1:-1].split("|"))
        found.append(f"{first} | {ollama or olla}")
    return found


@cache
def functions_of(path: str) -> frozenset[str]:
    body = ast.parse((ROOT / path).read_text()).body
    return frozenset(node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_each_row_has_its_tests_and_nothing_else_has() -> None:
    assert sorted(row["what"] for row in ROWS) == sorted(rows_of_the_document())
    assert [row["what"] for row in ROWS if not row["tests"]] == []


def test_each_test_that_is_named_exists() -> None:
    missing = []
    for row in ROWS:
        for name in row["tests"]:
            path, _, function = name.partition("::")
            if not (ROOT / path).is_file() or function not in functions_of(path):
                missing.append(name)
    assert missing == []
