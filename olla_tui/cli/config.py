"""`olla config show`: every setting, its value and where it comes from."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from olla_tui.cli.tables import table
from server.settings import SETTINGS, Address, Settings
from server.types.durations import format_go_duration

VALUE_WIDTH = 60


def show_settings() -> None:
    """Print a table of the settings, the file they may stand in, and what was left aside."""
    settings = Settings.load()
    sys.stdout.write(settings_table(settings))
    presence = "" if settings.config_file.is_file() else " (not there)"
    print(f"\nFile: {settings.config_file}{presence}")
    for warning in settings.warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def settings_table(settings: Settings) -> str:
    """One row for each setting. Pure."""
    rows = [
        [
            setting.field,
            value_text(setting.field, getattr(settings, setting.field)),
            settings.source(setting.field),
            setting.variable,
        ]
        for setting in SETTINGS
    ]
    return table(("SETTING", "VALUE", "SOURCE", "VARIABLE"), rows, cell_width=VALUE_WIDTH)


def value_text(field: str, value: object) -> str:
    """A value as people write it: durations as Go does, "auto" for what is chosen by memory or model."""
    if value is None or (field in ("context_length", "num_parallel", "max_loaded_models") and value == 0):
        return "auto"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Address):
        return value.url()
    if isinstance(value, float):
        return "forever" if math.isinf(value) else format_go_duration(value)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value) if isinstance(value, Path | int) or value else "none"
