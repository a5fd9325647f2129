"""Settings: the only reader of the environment and of `config.toml`.

Each value comes from the first that has it: command line, environment, file, default. `OLLAMA_*` variables
mean what they mean to Ollama, parsed by its rules (a value is trimmed and loses quotes at both ends).

Light to import, as every command does it: named tuples, no structs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from server.errors import OllaError
from server.types.durations import parse_go_duration
from server.types.setting_values import parse_alerts, parse_bytes, parse_kv_cache_type, parse_rate

Source = Literal["flag", "environment", "file", "default"]

DEFAULT_PORT = 11434
FOREVER_S = math.inf
_MAX_DIGITS = 18
"""Of a number that fits 64 bits."""


class SettingsError(OllaError):
    """A setting on the command line or in the file that cannot be meant."""


class BadPort(ValueError):
    """An address whose port is none. `address`: the same with the default port, as Ollama takes it."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"invalid port, {address.port} is used instead")
        self.address = address


class Setting(NamedTuple):
    """How one field of `Settings` is read.

    Attributes:
        field: name in `Settings` and in the `[server]` table of the file.
        variable: environment variable.
        parse: text to value; raises ValueError.
        help: what it does, for people.
    """

    field: str
    variable: str
    parse: Callable[[str], Any]
    help: str


class Address(NamedTuple):
    """Where the server listens, or where clients find it. `host` is "" for all interfaces."""

    scheme: str = "http"
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = ""

    def url(self) -> str:
        """Base URL for a client, without a slash at its end."""
        host = self.host or "127.0.0.1"
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{self.path.rstrip('/')}"


class Settings(NamedTuple):
    """All settings of the server and of its clients, read once and passed on.

    Attributes:
        context_length, num_parallel, max_loaded_models: 0: chosen by memory.
        keep_alive_s: inf: never unload.
        debug: 0 informs, 1 debugs, 2 traces, below 0 only warns.
        go_template: whether a Modelfile's TEMPLATE renders chats; None: as the model says.
        kv_host_bytes: memory for conversations without a slot, per model; None: chosen by memory.
        kv_disk_bytes: space for saved conversations, all models together; 0: none are saved.
        record_prompts: keep the latest prompts in memory, as rendered; whoever may call can read them.
        transfer_limit_bytes_per_s: of all pulls and pushes together; 0: none.
        key_file: by which registries know the user; None: there is no place for one.
        olla_dir: chats, logs and history of olla's own.
        low_bandwidth: None: by what the link takes.
        alerts: how the end of an answer is told while another window has the focus.
        cache_dir: what can be made again; None: nothing is cached on disk.
        sources: where each value comes from.
    """

    models_dir: Path
    olla_dir: Path
    config_file: Path
    address: Address = Address()
    keep_alive_s: float = 300.0
    load_timeout_s: float = 300.0
    max_loaded_models: int = 0
    max_queue: int = 512
    num_parallel: int = 0
    context_length: int = 0
    kv_cache_type: str = "f16"
    flash_attention: bool | None = None
    kv_host_bytes: int | None = None
    kv_disk_bytes: int = 4 << 30
    transfer_limit_bytes_per_s: int = 0
    key_file: Path | None = None
    origins: tuple[str, ...] = ()
    noprune: bool = False
    no_history: bool = False
    debug: int = 0
    record_prompts: bool = False
    go_template: bool | None = None
    editor: str = "vi"
    cache_dir: Path | None = None
    theme: str = "olla-dark"
    mouse: bool = True
    low_bandwidth: bool | None = None
    ascii_only: bool = False
    alerts: tuple[str, ...] = ("bell",)
    terminal: Mapping[str, str] = MappingProxyType({})
    warnings: tuple[str, ...] = ()
    sources: Mapping[str, Source] = MappingProxyType({})

    @property
    def host(self) -> str:
        """Host to bind, "" for all interfaces."""
        return self.address.host

    @property
    def port(self) -> int:
        """Port to bind or to call."""
        return self.address.port

    @property
    def base_url(self) -> str:
        """Base URL for clients."""
        return self.address.url()

    def source(self, field: str) -> Source:
        """Where the value of a field comes from."""
        return self.sources.get(field, "default")

    @classmethod
    def load(
        cls, overrides: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
    ) -> Settings:
        """Read all settings.

        A bad value in the environment is left aside with a line in `warnings`, as in Ollama.
        Raises: SettingsError for a bad value in the file, an unknown key there, a file that is no TOML, or an
        address that is none.
        """
        environ = os.environ if environ is None else environ
        home = Path(environ.get("HOME") or Path.home())
        config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        data_home = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
        values: dict[str, Any] = {
            "models_dir": home / ".ollama" / "models",
            "key_file": home / ".ollama" / "id_ed25519",
            "olla_dir": data_home / "olla",
            "cache_dir": Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "olla",
            "config_file": Path(environ.get("OLLA_CONFIG") or config_home / "olla" / "config.toml"),
            "terminal": {name: environ[name] for name in TERMINAL_VARIABLES if name in environ},
        }
        for variable in ("EDITOR", "VISUAL"):
            values["editor"] = clean_variable(environ.get(variable, "")) or values.get("editor", "vi")
        sources: dict[str, Source] = {}
        warnings: list[str] = []
        for field, value in read_config_file(values["config_file"]).items():
            values[field], sources[field] = value, "file"
        for setting in SETTINGS:
            text = clean_variable(environ.get(setting.variable, ""))
            if not text:
                continue
            try:
                values[setting.field], sources[setting.field] = setting.parse(text), "environment"
            except BadPort as error:
                values[setting.field], sources[setting.field] = error.address, "environment"
                warnings.append(f"{setting.variable}={text!r}: {error}")
            except ValueError as error:
                warnings.append(f"{setting.variable}={text!r} is left aside: {error}")
        for field, override in (overrides or {}).items():
            if override is not None:
                values[field], sources[field] = override, "flag"
        return cls(**values, warnings=tuple(warnings), sources=sources)


TERMINAL_VARIABLES = (
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "TMUX",
    "STY",
    "SSH_CONNECTION",
    "SSH_TTY",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "HOME",
)
"""Variables that say what the terminal can do; handed to the screen as they are."""


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a worker process: this process's own, with `extra` on top."""
    return {**os.environ, **extra}


def clean_variable(text: str) -> str:
    """A variable's value by Ollama's rule: trimmed, without quotes at its ends."""
    return text.strip().strip("\"'")


def parse_bool(text: str) -> bool:
    """Go's ParseBool, except that any other text counts as true, as in Ollama."""
    return text not in ("0", "f", "F", "false", "FALSE", "False")


def parse_folder(text: str) -> Path:
    """A folder, with "~" for the home of this or of a named user. Raises: ValueError."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("there is no such user") from None


def parse_count(text: str) -> int:
    """A decimal number without a sign. Raises: ValueError."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError("a number without a sign is needed")
    if len(text) > _MAX_DIGITS:
        raise ValueError("the number is too large")
    return int(text)


def parse_timeout_s(text: str) -> float:
    """A Go duration or whole seconds; negative: forever. Raises: ValueError."""
    if len(text.lstrip("+-")) > _MAX_DIGITS and text.lstrip("+-").isdecimal():
        raise ValueError("the number is too large")
    try:
        seconds = float(int(text))
    except ValueError:
        seconds = parse_go_duration(text)
    return FOREVER_S if seconds < 0 else seconds


def parse_debug(text: str) -> int:
    """Ollama's debug level: a number, or a truth value for 1. Raises: ValueError."""
    try:
        return int(text)
    except ValueError:
        return int(parse_bool(text))


def parse_origins(text: str) -> tuple[str, ...]:
    """A list separated by commas; its items are not trimmed, as in Ollama."""
    return tuple(item for item in text.split(",") if item)


_NOT_IN_A_HOST = frozenset(' <>"\\^`{|}#?@')

ADDRESS_HINT = "OLLAMA_HOST has the form [http://]HOST[:PORT], such as 127.0.0.1:11434."


def parse_address(text: str) -> Address:
    """Ollama's OLLAMA_HOST: `[scheme://][host][:port][/path]`.

    Raises: BadPort; SettingsError for what is no address, which nothing can stand in for.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    is_odd = any(not letter.isprintable() or letter in _NOT_IN_A_HOST for letter in rest.partition("/")[0])
    if is_odd or scheme not in ("http", "https"):
        raise SettingsError(f"{text!r} is no address of a server", hint=ADDRESS_HINT)
    default_port = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    host_port, slash, path = rest.partition("/")
    if host_port.count(":") > 1 and not host_port.startswith("["):
        return Address(scheme, host_port, default_port, slash + path if path else "")
    try:
        parts = urlsplit(f"//{host_port}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(f"//{host_port.rpartition(':')[0]}"), -1
    host = parts.hostname or ""
    if not host_port:
        host = "127.0.0.1"
    address = Address(
        scheme, host, default_port if port in (None, -1) else port, slash + path if path else ""
    )
    if port == -1:
        raise BadPort(address)
    return address


SETTINGS: tuple[Setting, ...] = (
    Setting("address", "OLLAMA_HOST", parse_address, "Address to listen on, or to call"),
    Setting("models_dir", "OLLAMA_MODELS", parse_folder, "Where models are stored"),
    Setting("keep_alive_s", "OLLAMA_KEEP_ALIVE", parse_timeout_s, "How long an idle model stays loaded"),
    Setting("load_timeout_s", "OLLAMA_LOAD_TIMEOUT", parse_timeout_s, "How long a load may make no progress"),
    Setting("max_loaded_models", "OLLAMA_MAX_LOADED_MODELS", parse_count, "Most models loaded at once"),
    Setting("max_queue", "OLLAMA_MAX_QUEUE", parse_count, "Most requests that may wait"),
    Setting("num_parallel", "OLLAMA_NUM_PARALLEL", parse_count, "Requests that one model decodes together"),
    Setting("context_length", "OLLAMA_CONTEXT_LENGTH", parse_count, "Context length where none is asked for"),
    Setting("kv_cache_type", "OLLAMA_KV_CACHE_TYPE", parse_kv_cache_type, "Type of keys and values"),
    Setting("flash_attention", "OLLAMA_FLASH_ATTENTION", parse_bool, "Flash attention"),
    Setting("kv_host_bytes", "OLLA_KV_HOST_BYTES", parse_bytes, "Memory for conversations without a slot"),
    Setting("kv_disk_bytes", "OLLA_KV_DISK_BYTES", parse_bytes, "Space for saved conversations, 0 for none"),
    Setting(
        "transfer_limit_bytes_per_s", "OLLA_TRANSFER_LIMIT", parse_rate, "Bytes a second of pulls and pushes"
    ),
    Setting("origins", "OLLAMA_ORIGINS", parse_origins, "Browser origins that may call"),
    Setting("noprune", "OLLAMA_NOPRUNE", parse_bool, "Keep blobs that no model refers to"),
    Setting("no_history", "OLLAMA_NOHISTORY", parse_bool, "Keep no history of lines typed"),
    Setting("debug", "OLLAMA_DEBUG", parse_debug, "How much is logged"),
    Setting("record_prompts", "OLLA_RECORD_PROMPTS", parse_bool, "Keep the latest prompts for the screen"),
    Setting("go_template", "OLLAMA_GO_TEMPLATE", parse_bool, "Render chats by the Modelfile's TEMPLATE"),
    Setting("editor", "OLLAMA_EDITOR", str, "Editor for prompts"),
    Setting("olla_dir", "OLLA_HOME", parse_folder, "Chats, logs and history"),
    Setting("theme", "OLLA_THEME", str, "Theme of the workstation"),
    Setting("mouse", "OLLA_MOUSE", parse_bool, "Whether the workstation takes the mouse"),
    Setting("low_bandwidth", "OLLA_LOW_BANDWIDTH", parse_bool, "Fewer redraws and colours, for slow links"),
    Setting("ascii_only", "OLLA_ASCII", parse_bool, "Lines, bars and marks in ASCII"),
    Setting("alerts", "OLLA_ALERTS", parse_alerts, "Alerts of ended answers: bell, notify, title or none"),
)
"""Every setting that has a variable; those of the file are the same fields."""


def read_config_file(path: Path) -> dict[str, Any]:
    """The fields that `config.toml` sets, parsed; empty when there is no file.

    Raises: SettingsError.
    """
    if not path.is_file():
        return {}
    import tomli

    try:
        tables = tomli.loads(path.read_text(encoding="utf-8"))
    except (tomli.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    return {
        field: value
        for table, names in CONFIG_TABLES.items()
        for field, value in _table_values(path, table, tables.get(table, {}), names).items()
    } | _unknown_tables(path, tables)


CONFIG_TABLES: dict[str, tuple[str, ...]] = {
    "server": (
        *(setting.field for setting in SETTINGS if not setting.variable.startswith("OLLA_")),
        "kv_host_bytes",
        "kv_disk_bytes",
        "transfer_limit_bytes_per_s",
        "record_prompts",
    ),
    "tui": ("theme", "mouse", "low_bandwidth", "ascii_only", "alerts", "olla_dir"),
}


def _unknown_tables(path: Path, tables: Mapping[str, Any]) -> dict[str, Any]:
    for name in tables:
        if name not in CONFIG_TABLES and name != "keys":
            raise SettingsError(f"{path}: there is no table [{name}]", hint=_nearest(name, CONFIG_TABLES))
    return {}


def _table_values(path: Path, table: str, entries: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(entries, dict):
        raise SettingsError(f"{path}: [{table}] must be a table")
    by_field = {setting.field: setting for setting in SETTINGS}
    values: dict[str, Any] = {}
    for name, value in entries.items():
        if name not in names:
            raise SettingsError(f"{path}: [{table}] has no setting {name!r}", hint=_nearest(name, names))
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        try:
            values[name] = by_field[name].parse(text)
        except ValueError as error:
            raise SettingsError(f"{path}: {table}.{name} = {value!r}: {error}") from None
    return values


def _nearest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(known)}."
