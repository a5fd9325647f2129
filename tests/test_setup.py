"""The script behind `make olla` and `make test`: what it says when something is missing, what it installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKED = next(
    line for line in (ROOT / "requirements.lock").read_text().splitlines() if "llama-cpp-python=" in line
)
PYTHON = """#!/bin/sh
echo "$@" >>"$LOG"
case "$1 $2" in
    "-c import sys; sys.exit"*) exit "${TOO_OLD:-0}" ;;
    "-m venv") [ -z "${NO_VENV:-}" ] || exit 1; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip") [ "$0" = "${HALF_MADE:-}" ] && exit 1; exit 0 ;;
    "--version "*) echo "Python 3.9.2" >&2 ;;
esac
"""


class Setup:
    """Runs the script on a machine that has only what is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.venv = folder / "venv"
        self.tools = folder / "bin"
        self.tools.mkdir()
        for tool in ("cat", "cp", "grep", "mkdir", "sh", "uname"):
            self.tools.joinpath(tool).symlink_to(str(shutil.which(tool)))
        for tool in ("cc", "c++"):
            self.add(tool, "#!/bin/sh\n")
        self.add("python3", PYTHON)

    def add(self, name: str, script: str) -> Path:
        path = self.tools / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def run(self, **environ: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        return subprocess.run(
            [
                "sh",
                str(ROOT / "scripts/setup.sh"),
                "python3",
                str(self.venv),
                str(ROOT / "requirements.lock"),
            ],
            env={"PATH": str(self.tools), "LOG": str(self.log), **environ},
            capture_output=True,
            text=True,
            timeout=30,
        )

    def installs(self) -> list[str]:
        """What pip was asked to install, without the options that are always there."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("-m pip install")]
        return [line.removeprefix("-m pip install -q --disable-pip-version-check ") for line in lines]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.mark.parametrize(
    ("missing", "words"),
    [("cc", "a C compiler"), ("c++", "a C++ compiler"), ("python3", "Python 3.11 or newer")],
)
def test_what_is_missing_is_named_with_its_command(setup: Setup, missing: str, words: str) -> None:
    (setup.tools / missing).unlink()
    ended = setup.run()
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"olla needs {words}. Install it with: ")
    assert len(ended.stderr.splitlines()) == 1
    assert not setup.venv.exists()


def test_a_compiler_that_only_says_how_to_get_one_is_none(setup: Setup) -> None:
    setup.add("cc", "#!/bin/sh\necho 'no developer tools were found' >&2\nexit 1\n")
    assert setup.run().stderr.startswith("olla needs a C compiler. ")


def test_a_compiler_may_be_a_command_with_arguments(setup: Setup) -> None:
    (setup.tools / "cc").rename(setup.tools / "ccache")
    assert setup.run(CC="ccache gcc").returncode == 0


def test_a_python_that_is_too_old_is_named(setup: Setup) -> None:
    ended = setup.run(TOO_OLD="1")
    assert ended.returncode == 1
    assert ended.stderr.startswith("olla needs Python 3.11 or newer (Python 3.9.2 was found; ")


def test_a_folder_in_the_way_of_the_environment_keeps_its_files(setup: Setup) -> None:
    setup.venv.mkdir()
    (setup.venv / "thesis.txt").write_text("mine")
    ended = setup.run(NO_VENV="1")
    assert ended.returncode == 1
    assert ended.stderr.startswith("olla needs Python's venv module. ")
    assert (setup.venv / "thesis.txt").exists()


def test_an_environment_that_was_left_half_made_is_made_again(setup: Setup) -> None:
    assert setup.run().returncode == 0
    assert setup.run().returncode == 0
    assert "-m venv" not in setup.log.read_text()
    assert setup.run(HALF_MADE=str(setup.venv / "bin/python")).returncode != 0
    assert "-m venv" in setup.log.read_text()


def test_llama_cpp_is_compiled_anew_for_other_arguments_only(setup: Setup) -> None:
    plain = [f"-r {ROOT / 'requirements.lock'}", "--no-deps -e ."]
    compiled = f"--no-cache-dir --force-reinstall --no-deps {LOCKED}"
    setup.run()
    assert setup.installs() == plain
    ended = setup.run(CMAKE_ARGS="-DGGML_CUDA=on")
    assert "Compiling llama.cpp with -DGGML_CUDA=on" in ended.stdout
    assert setup.installs() == [compiled, *plain]
    setup.run(CMAKE_ARGS="-DGGML_CUDA=on")
    assert setup.installs() == plain
    setup.run()
    assert setup.installs() == plain
    setup.run(CMAKE_ARGS="-DGGML_VULKAN=on")
    assert setup.installs() == [compiled, *plain]


def make_would_run(venv: Path, **environ: str) -> str:
    environ = {**os.environ, "CMAKE_ARGS": "", **environ}
    command = ["make", "-n", "olla", f"VENV={venv}"]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout


def test_make_olla_starts_at_once_when_it_has_been_set_up(tmp_path: Path) -> None:
    assert "setup.sh" in make_would_run(tmp_path)
    (tmp_path / ".installed").touch()
    assert make_would_run(tmp_path).splitlines() == [f"exec {tmp_path}/bin/olla"]
    (tmp_path / ".cmake-args").write_text("-DGGML_CUDA=on\n")
    assert "setup.sh" not in make_would_run(tmp_path)
    assert "setup.sh" not in make_would_run(tmp_path, CMAKE_ARGS="-DGGML_CUDA=on")
    assert "setup.sh" in make_would_run(tmp_path, CMAKE_ARGS="-DGGML_VULKAN=on")
