"""The user's keys: what the `[keys]` table changes, and which keys clash."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNBOUND = "none"
"""Value that takes the key from an action."""


@dataclass(frozen=True)
class Clash:
    """One key that two actions of the same place want."""

    key: str
    first: str
    second: str

    def __str__(self) -> str:
        return f'key "{self.key}" is wanted by "{self.first}" and by "{self.second}"'


def merge_keys(
    defaults: Mapping[str, str], wanted: Mapping[str, str | Sequence[str]]
) -> tuple[dict[str, str], list[str]]:
    """Keys of every action after the user's changes, and sentences on what was wrong with them.

    Args:
        defaults: action id to its keys, separated by commas.
        wanted: action id to a key, a list of keys, or "none".
    """
    merged = dict(defaults)
    problems: list[str] = []
    for action_id, keys in wanted.items():
        if action_id not in defaults:
            near = difflib.get_close_matches(action_id, defaults, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            problems.append(f'[keys] "{action_id}" is no action{hint}')
            continue
        listed = [keys] if isinstance(keys, str) else list(keys)
        named = [key.strip() for key in listed if key.strip()]
        merged[action_id] = "" if UNBOUND in named else ",".join(named)
    return merged, problems


def clashes(keys: Mapping[str, str], places: Mapping[str, str]) -> list[Clash]:
    """Keys that two actions of one place share, or that a place shares with the whole screen.

    Args:
        keys: action id to its keys, separated by commas.
        places: action id to the pane it works in, "" for everywhere.
    """
    found: list[Clash] = []
    owners: dict[tuple[str, str], str] = {}
    for action_id in sorted(keys, key=lambda action: (places[action] != "", action)):
        place = places[action_id]
        for key in filter(None, keys[action_id].split(",")):
            owner = owners.get((place, key)) or owners.get(("", key))
            if owner is None:
                owners[place, key] = action_id
            else:
                found.append(Clash(key, owner, action_id))
    return found
