"""`olla config show`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from olla_tui.cli.config import settings_table, value_text
from olla_tui.cli.main import run_command
from server.settings import Settings


def test_each_setting_with_its_source() -> None:
    environ = {"HOME": "/h", "OLLAMA_HOST": "0.0.0.0:80", "OLLAMA_KEEP_ALIVE": "-1"}
    lines = settings_table(Settings.load(environ=environ)).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["address"] == ["http://0.0.0.0:80", "environment", "OLLAMA_HOST"]
    assert rows["keep_alive_s"] == ["forever", "environment", "OLLAMA_KEEP_ALIVE"]
    assert rows["models_dir"] == ["/h/.ollama/models", "default", "OLLAMA_MODELS"]
    assert rows["num_parallel"][0] == "auto"


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("x", None, "auto"),
        ("x", True, "true"),
        ("x", 300.0, "5m0s"),
        ("x", math.inf, "forever"),
        ("x", (), "none"),
        ("x", ("a", "b"), "a,b"),
        ("x", "", "none"),
        ("max_queue", 0, "0"),
        ("context_length", 0, "auto"),
        ("models_dir", Path("/m"), "/m"),
    ],
)
def test_values(field: str, value: object, text: str) -> None:
    assert value_text(field, value) == text


def test_what_was_left_aside_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("OLLA_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "many")
    assert run_command(["config", "show"]) == 0
    captured = capsys.readouterr()
    assert f"File: {tmp_path / 'config.toml'} (not there)" in captured.out
    assert "OLLAMA_MAX_QUEUE='many'" in captured.err


def test_a_wrong_file_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[server]\nmax_queu = 1\n")
    monkeypatch.setenv("OLLA_CONFIG", str(file))
    assert run_command(["config", "show"]) == 1
    assert capsys.readouterr().err == (
        f"Error: {file}: [server] has no setting 'max_queu'. Did you mean 'max_queue'?\n"
    )
