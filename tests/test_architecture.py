"""The house: how long files and functions are, what the wheel holds, who reads the environment."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli

ROOT = Path(__file__).parents[1]
PRODUCT = ("server", "olla_tui", "themes")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def product_files() -> list[Path]:
    return sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in product_files()}
    assert not {str(path): n for path, n in lengths.items() if n > MAX_FILE_LINES}


def test_every_function_fits_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in product_files()
        for node in functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [str(path) for path in product_files() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_no_module_has_a_vague_name() -> None:
    assert not [path for path in product_files() if path.stem in VAGUE_NAMES]


def test_the_environment_has_one_reader() -> None:
    readers = [path for path in product_files() if "os.environ" in path.read_text()]
    assert [path.relative_to(ROOT).as_posix() for path in readers] == ["server/settings.py"]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_the_packages_and_the_bundled_model_alone(wheel_names: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PRODUCT)
    assert [name for name in wheel_names if name.endswith(".gguf")] == ["server/bundled/spark.gguf"]
    assert "themes/olla-dark.toml" in wheel_names


def test_every_dependency_is_pinned_in_the_lock_files() -> None:
    wanted = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    # A distribution's name may be written with dots or dashes; locks have dashes.
    names = {re.split("[=<>;]", line)[0].replace(".", "-") for line in wanted}
    for lock in ("requirements.lock", "requirements-dev.lock"):
        pinned = {line.split("==")[0] for line in (ROOT / lock).read_text().splitlines() if "==" in line}
        assert names <= pinned


def test_textual_is_pinned_exactly_and_comes_without_native_highlighting() -> None:
    wanted = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "textual==8.2.8" in wanted
    assert not [line for line in wanted if "textual[" in line]
    assert "tree-sitter" not in (ROOT / "requirements.lock").read_text()
