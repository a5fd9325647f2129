"""The command palette: every action that works now, under the names of the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from olla_tui.actions import ACTIONS, Action


@dataclass(frozen=True)
class Command:
    """One line of the palette.

    Attributes:
        title: "group: what it does".
        help: the keys that do the same, or "".
    """

    title: str
    help: str
    run: Callable[[], object]


class HasCommands(Protocol):
    """A screen that says which commands work now."""

    def commands(self) -> Sequence[Command]:
        """The commands in the order of the registry."""
        ...


class OllaCommands(Provider):
    """Hands the screen's commands to Textual's palette."""

    def _commands(self) -> Sequence[Command]:
        return cast(HasCommands, self.screen).commands() if hasattr(self.screen, "commands") else ()

    async def discover(self) -> Hits:
        for command in self._commands():
            yield DiscoveryHit(command.title, command.run, help=command.help or None)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in self._commands():
            score = matcher.match(command.title)
            if score > 0:
                yield Hit(score, matcher.highlight(command.title), command.run, help=command.help or None)


GROUP_NAMES = {
    "app": "view",
    "pane": "go to",
    "models": "model",
    "running": "model",
    "requests": "request",
    "gpus": "gpu",
    "logs": "log",
    "pulls": "pull",
}
"""Prefix of an action's group in the palette, where it is not the group itself."""


def command_title(action: Action) -> str:
    """The palette's name of an action."""
    if action.id.startswith("pane."):
        return f"go to: {action.title.removeprefix('Go to ')}"
    return f"{GROUP_NAMES.get(action.group, action.group)}: {action.title}"


def palette_actions() -> list[Action]:
    """The actions that the palette may list, whether or not they work now."""
    return [action for action in ACTIONS if action.palette]
