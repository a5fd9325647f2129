"""Where settings come from and how Ollama's variables are read."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from server.settings import (
    SETTINGS,
    Address,
    Settings,
    SettingsError,
    child_environment,
    clean_variable,
    parse_address,
)


def load(tmp_path: Path, **environ: str) -> Settings:
    return Settings.load(environ={"HOME": str(tmp_path), **environ})


def test_every_setting_is_a_field() -> None:
    fields = set(Settings._fields)
    assert {setting.field for setting in SETTINGS} <= fields


def test_defaults_are_ollama_s(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.models_dir == tmp_path / ".ollama" / "models"
    assert (settings.host, settings.port, settings.keep_alive_s, settings.max_queue) == (
        "127.0.0.1",
        11434,
        300.0,
        512,
    )
    assert settings.base_url == "http://127.0.0.1:11434"
    assert settings.source("keep_alive_s") == "default"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", Address()),
        ("1.2.3.4", Address("http", "1.2.3.4", 11434)),
        ("1.2.3.4:5678", Address("http", "1.2.3.4", 5678)),
        (":1234", Address("http", "", 1234)),
        (":0", Address("http", "", 0)),
        ("http://example.com", Address("http", "example.com", 80)),
        ("https://example.com", Address("https", "example.com", 443)),
        ("https://example.com:1/x", Address("https", "example.com", 1, "/x")),
        ("example.com/api", Address("http", "example.com", 11434, "/api")),
        ("[::1]:99", Address("http", "::1", 99)),
        ("::1", Address("http", "::1", 11434)),
    ],
)
def test_address(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("h:x", "http://h:11434"),
        ("h:-1", "http://h:11434"),
        ("h:65536", "http://h:11434"),
        ("[::1]:x", "http://[::1]:11434"),
        ("https://h:x/y", "https://h:443/y"),
    ],
)
def test_a_bad_port_is_the_default_one_with_a_warning(text: str, url: str, tmp_path: Path) -> None:
    settings = load(tmp_path, OLLAMA_HOST=text)
    assert settings.base_url == url
    assert settings.source("address") == "environment"
    assert settings.warnings == (f"OLLAMA_HOST={text!r}: invalid port, {settings.port} is used instead",)


@pytest.mark.parametrize(
    "text", ["a host", "http://a host:1", "me@host", "host?x", "ftp://host", "a\x07b", "unix:///s"]
)
def test_what_is_no_address_is_refused(text: str, tmp_path: Path) -> None:
    """Left aside, it would send the command to another server than the one that was meant."""
    with pytest.raises(SettingsError, match="is no address of a server"):
        load(tmp_path, OLLAMA_HOST=text)


def test_variables_lose_quotes_and_blanks() -> None:
    assert clean_variable("  \"' v '\" ") == " v "


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300.0), ("90", 90.0), ("-1", math.inf), ("0", 0.0), ("1d", 300.0)]
)
def test_keep_alive(text: str, seconds: float, tmp_path: Path) -> None:
    assert load(tmp_path, OLLAMA_KEEP_ALIVE=text).keep_alive_s == seconds


def test_precedence(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[server]\nmax_queue = 7\nnum_parallel = 2\n[tui]\ntheme = "olla-light"\n')
    environ = {"HOME": str(tmp_path), "OLLA_CONFIG": str(config), "OLLAMA_NUM_PARALLEL": "3"}
    settings = Settings.load({"num_parallel": None, "keep_alive_s": 5.0}, environ)
    assert (settings.max_queue, settings.num_parallel, settings.keep_alive_s) == (7, 3, 5.0)
    assert settings.theme == "olla-light"
    assert [settings.source(name) for name in ("max_queue", "num_parallel", "keep_alive_s", "origins")] == [
        "file",
        "environment",
        "flag",
        "default",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[server]\nmax_queu = 7\n", "max_queu"),
        ("[server]\nmax_queue = -7\n", "max_queue"),
        ("[serve]\n", "[serve]"),
        ("not toml", "cannot be read"),
        ("server = 1\n", "[server]"),
    ],
)
def test_a_bad_file_is_named(text: str, part: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, OLLA_CONFIG=str(config))
    assert part in caught.value.message


def test_a_misspelt_key_gets_the_nearest_name(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[server]\nkeep_alive = 7\n")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, OLLA_CONFIG=str(config))
    assert caught.value.hint == "Did you mean 'keep_alive_s'?"


@pytest.mark.parametrize(
    ("environ", "editor"),
    [
        ({}, "vi"),
        ({"EDITOR": "ed"}, "ed"),
        ({"EDITOR": "ed", "VISUAL": "emacs"}, "emacs"),
        ({"VISUAL": "emacs", "OLLAMA_EDITOR": "nano -w"}, "nano -w"),
    ],
)
def test_the_editor_is_the_first_that_is_named(environ: dict[str, str], editor: str, tmp_path: Path) -> None:
    assert load(tmp_path, **environ).editor == editor


def test_a_worker_inherits_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLA_PROBE", "1")
    environment = child_environment({"GOMP_SPINCOUNT": "200"})
    assert (environment["OLLA_PROBE"], environment["GOMP_SPINCOUNT"]) == ("1", "200")


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("0", 0), ("1000", 1000), ("512M", 512 << 20), ("4GiB", 4 << 30), ("4 gb", 4 << 30), ("8k", 8192)],
)
def test_sizes_have_units(text: str, n_bytes: int, tmp_path: Path) -> None:
    settings = load(tmp_path, OLLA_KV_DISK_BYTES=text, OLLA_KV_HOST_BYTES=text)
    assert (settings.kv_disk_bytes, settings.kv_host_bytes) == (n_bytes, n_bytes)


@pytest.mark.parametrize("text", ["GiB", "-1", "1.5G", "4TiB", "lots", "4 G 4"])
def test_a_size_that_is_none_is_left_aside(text: str, tmp_path: Path) -> None:
    settings = load(tmp_path, OLLA_KV_DISK_BYTES=text)
    assert settings.kv_disk_bytes == 4 << 30
    assert "OLLA_KV_DISK_BYTES" in settings.warnings[0]


def test_the_cache_is_where_caches_are(tmp_path: Path) -> None:
    assert load(tmp_path).cache_dir == tmp_path / ".cache" / "olla"
    assert load(tmp_path, XDG_CACHE_HOME="/elsewhere").cache_dir == Path("/elsewhere/olla")
    config = tmp_path / "config.toml"
    config.write_text("[server]\nkv_disk_bytes = 0\nkv_host_bytes = '1GiB'\n")
    settings = load(tmp_path, OLLA_CONFIG=str(config))
    assert (settings.kv_disk_bytes, settings.kv_host_bytes) == (0, 1 << 30)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OLLAMA_CONTEXT_LENGTH", "9" * 30),
        ("OLLAMA_NUM_PARALLEL", "9" * 5000),
        ("OLLAMA_KEEP_ALIVE", "9" * 400),
        ("OLLAMA_LOAD_TIMEOUT", "-" + "9" * 5000),
        ("OLLAMA_MODELS", "~nobody-of-that-name/models"),
        ("OLLA_HOME", "~nobody-of-that-name"),
    ],
)
def test_absurd_values_are_left_aside_with_a_warning(variable: str, text: str) -> None:
    plain, settings = (Settings.load(environ={"HOME": "/h", **more}) for more in ({}, {variable: text}))
    assert settings._replace(warnings=()) == plain
    (warning,) = settings.warnings
    assert warning.startswith(f"{variable}=")
