"""What tells the user of an ended answer while another window has the focus: bell, notification, title."""

from __future__ import annotations

from collections.abc import Collection, Mapping

MAX_WORDS = 120
"""Characters of a notification; terminals cut longer ones."""


def alert(kinds: Collection[str], words: str, terminal: Mapping[str, str]) -> str:
    """The sequences of an alert.

    Args:
        kinds: of `server.types.setting_values.ALERTS`: "bell" is BEL, "title" is OSC 2, "notify" is OSC 9,
            which iTerm2, WezTerm, kitty, Ghostty and Windows Terminal know.
        terminal: the environment's variables about the terminal.
    """
    text = "".join(char for char in words if char.isprintable())[:MAX_WORDS]
    sequences = ""
    if "title" in kinds:
        sequences += title(f"* {text}")
    if "notify" in kinds:
        sequences += _through_tmux(f"\x1b]9;{text}\x07", terminal)
    # The bell last: tmux, screen and the terminal take it for the window that it came from.
    return sequences + ("\x07" if "bell" in kinds else "")


def title(words: str) -> str:
    """The sequence that sets the window's title."""
    return f"\x1b]2;{words}\x07"


def _through_tmux(sequence: str, terminal: Mapping[str, str]) -> str:
    """The sequence as tmux hands it on to its terminal, where `allow-passthrough` is on."""
    if not terminal.get("TMUX"):
        return sequence
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
