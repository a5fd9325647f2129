"""Settings of the screen alone, drawn from `server.settings.Settings` and the `[keys]` table of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import tomli

from server.settings import Settings

Depth = Literal["truecolor", "256", "16"]


class Pace(NamedTuple):
    """How often something happens.

    Attributes:
        poll_s: seconds between two snapshots of the server.
        frames_per_s: most changes of the screen in a second while an answer comes.
    """

    poll_s: float
    frames_per_s: float


@dataclass(frozen=True)
class TuiSettings:
    """What the workstation needs to know.

    Attributes:
        theme: name of a theme.
        mouse: take the mouse at the start.
        low_bandwidth: fewer redraws and colours; None: when the link is slow.
        ascii_only: lines, bars and marks are drawn in ASCII.
        alerts: how the end of an answer is told while another window has the focus; see `olla_tui.alerts`.
        no_color: the user wants no colours.
        depth: how many colours the terminal shows.
        keys: action id to key, list of keys, or "none".
        editor: command line of the user's editor.
        themes_dir: the user's own themes.
        history_file: where chats are kept; None keeps them nowhere.
        bookmark_file: where a screen whose terminal hangs up leaves its place.
        save_dir: where logs are saved.
        clip_file: keeps the last text that was copied.
        bench_file: where measurements of models are kept; None keeps them nowhere.
        shell: a prompt that begins with `!` is run here. Not from a browser: this machine may be another one.
        terminal: the environment's variables about the terminal.
    """

    theme: str = "olla-dark"
    mouse: bool = True
    low_bandwidth: bool | None = None
    ascii_only: bool = False
    alerts: tuple[str, ...] = ()
    no_color: bool = False
    depth: Depth = "truecolor"
    keys: Mapping[str, str | list[str]] = field(default_factory=dict)
    editor: str = "vi"
    themes_dir: Path | None = None
    history_file: Path | None = None
    bookmark_file: Path | None = None
    save_dir: Path = Path(".")
    clip_file: Path = Path("clip.txt")
    bench_file: Path | None = None
    shell: bool = True
    terminal: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def pace(self, *, low_bandwidth: bool) -> Pace:
        """How often the server is asked and the screen changed."""
        return Pace(2.0, 4.0) if low_bandwidth else Pace(0.4, 15.0)

    @classmethod
    def from_settings(cls, settings: Settings) -> TuiSettings:
        """The screen's part of all settings; a bad `[keys]` table becomes a warning."""
        keys, warnings = read_keys(settings.config_file)
        return cls(
            theme=settings.theme,
            mouse=settings.mouse,
            low_bandwidth=settings.low_bandwidth,
            ascii_only=settings.ascii_only or not speaks_utf8(settings.terminal),
            alerts=settings.alerts,
            no_color=bool(settings.terminal.get("NO_COLOR")),
            depth=color_depth(settings.terminal),
            keys=keys,
            editor=settings.editor,
            themes_dir=settings.config_file.parent / "themes",
            history_file=None if settings.no_history else settings.olla_dir / "chats.sqlite",
            bookmark_file=None if settings.no_history else settings.olla_dir / "screen.json",
            save_dir=settings.olla_dir,
            bench_file=None if settings.no_history else settings.olla_dir / "bench.jsonl",
            clip_file=cache_dir(settings.terminal) / "olla" / "clip.txt",
            terminal=settings.terminal,
            warnings=(*settings.warnings, *warnings),
        )


def cache_dir(terminal: Mapping[str, str]) -> Path:
    """The user's directory for what can be lost, by the XDG rules."""
    named = terminal.get("XDG_CACHE_HOME", "")
    return Path(named) if named else Path(terminal.get("HOME") or Path.home()) / ".cache"


def color_depth(terminal: Mapping[str, str]) -> Depth:
    """How many colours the terminal says that it has, by COLORTERM and the end of TERM; sixteen otherwise."""
    if terminal.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    kind = terminal.get("TERM", "").strip().lower()
    if kind.endswith("-direct"):
        return "truecolor"
    return "256" if kind.endswith("-256color") or kind.rpartition("-")[2] == "kitty" else "16"


def speaks_utf8(terminal: Mapping[str, str]) -> bool:
    """Whether the locale is a UTF-8 one; the first of LC_ALL, LC_CTYPE and LANG that is set decides."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = terminal.get(name, "")
        if value:
            # "C" and "POSIX" are what a bare container has, and its terminal is nearly always a UTF-8 one.
            return value in ("C", "POSIX") or "utf" in value.lower()
    return True


def read_keys(config_file: Path) -> tuple[dict[str, str | list[str]], list[str]]:
    """The `[keys]` table of the configuration, and sentences on what was wrong with it."""
    try:
        with config_file.open("rb") as file:
            table = tomli.load(file).get("keys", {})
    except FileNotFoundError:
        return {}, []
    except (OSError, tomli.TOMLDecodeError) as error:
        return {}, [f"{config_file} cannot be read: {error}"]
    if not isinstance(table, dict):
        return {}, [f"{config_file}: [keys] must be a table"]
    keys: dict[str, str | list[str]] = {}
    problems: list[str] = []
    for action_id, value in table.items():
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if isinstance(value, str) or is_list:
            keys[action_id] = value
        else:
            problems.append(f'{config_file}: keys."{action_id}" must be a key or a list of keys')
    return keys, problems
