"""The styles of a transcript, from the theme in force.

Our themes set `olla-chat-*` and `olla-syntax-*`; under any other theme Textual's own colours stand in.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color, ColorParseError

from olla_tui.text.lexers import Lexers
from olla_tui.text.styles import Glyphs, TextStyles, TokenRole
from olla_tui.widgets.transcript_layout import TranscriptStyles

STAND_INS: dict[str, str] = {
    "olla-chat-user": "secondary",
    "olla-chat-assistant": "primary",
    "olla-chat-system": "warning",
    "olla-chat-tool": "accent",
    "olla-chat-thinking": "foreground-darken-2",
    "olla-chat-code": "accent",
    "olla-chat-code-background": "surface",
    "olla-chat-link": "primary",
    "olla-chat-cursor": "accent",
    "olla-muted": "foreground-darken-2",
    "olla-syntax-keyword": "accent",
    "olla-syntax-string": "success",
    "olla-syntax-number": "warning",
    "olla-syntax-comment": "foreground-darken-2",
    "olla-syntax-name": "primary",
    "olla-syntax-operator": "foreground",
}
"""Variables of ours, and Textual's variable that each is drawn from where a theme leaves it out."""

SYNTAX_ROLES: tuple[TokenRole, ...] = ("keyword", "string", "number", "comment", "name", "operator")


def _resolve(variables: Mapping[str, str], name: str) -> Color | None:
    """The colour of a variable, through references; None where it has none."""
    for _ in range(8):  # references between variables are short chains; a circle has no colour
        text = variables.get(name) or variables.get(STAND_INS.get(name, ""), "")
        if not text.startswith("$"):
            break
        name = text[1:]
    try:
        return Color.parse(text) if text else None  # an error costs a search for names like it
    except ColorParseError:
        return None


def transcript_styles(
    variables: Mapping[str, str], base: Style, glyphs: Glyphs, lexers: Lexers
) -> TranscriptStyles:
    """Styles under the theme's variables.

    Args:
        base: the widget's own style, with its colours; every style is whole, so lines need no second pass.
    """

    def style(name: str, *, background: str = "", added: Style | None = None) -> Style:
        color = _resolve(variables, name)
        bgcolor = _resolve(variables, background) if background else None
        found = base + Style(
            color=color.rich_color if color else None, bgcolor=bgcolor.rich_color if bgcolor else None
        )
        return found + added if added else found

    bold = Style(bold=True)
    code_background = "olla-chat-code-background"
    fence = style("foreground", background=code_background)
    text = TextStyles(
        text=base,
        heading=style("olla-chat-assistant", added=bold),
        code=style("olla-chat-code", background=code_background),
        link=style("olla-chat-link", added=Style(underline=True)),
        quote=style("olla-muted"),
        muted=style("olla-muted"),
        fence=fence,
        fence_title=style("olla-muted", added=bold),
        tokens={role: style(f"olla-syntax-{role}", background=code_background) for role in SYNTAX_ROLES},
        glyphs=glyphs,
        lexers=lexers,
    )
    thinking = style("olla-chat-thinking")
    return TranscriptStyles(
        text=text,
        thinking=text.on(thinking),
        user=style("olla-chat-user", added=bold),
        assistant=style("olla-chat-assistant", added=bold),
        system=style("olla-chat-system", added=bold),
        tool=style("olla-chat-tool"),
        stats=style("olla-muted"),
        error=style("error"),
        cursor=style("olla-chat-cursor"),
        selection=Style(reverse=True),
        more=style("olla-chat-cursor", added=Style(reverse=True, bold=True)),
    )
