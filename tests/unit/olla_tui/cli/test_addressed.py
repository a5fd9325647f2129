"""Commands that call a server say when they call another one than was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from olla_tui.cli.addressed import client_settings


def test_a_bad_port_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "far.example:99999")
    monkeypatch.setenv("OLLA_KV_DISK_BYTES", "much")
    assert client_settings().base_url == "http://far.example:11434"
    assert capsys.readouterr().err == (
        "Warning: OLLAMA_HOST='far.example:99999': invalid port, 11434 is used instead\n"
    )


def test_a_good_address_needs_no_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "far.example:99")
    assert client_settings().base_url == "http://far.example:99"
    assert capsys.readouterr().err == ""
