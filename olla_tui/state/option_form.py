"""The form of a chat's settings, made from the table of options: its fields, and what is typed into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from olla_tui.state.conversation import Conversation
from olla_tui.state.rows import ELLIPSIS
from server.errors import InvalidOption
from server.types.options import OPTION_BY_NAME, OPTIONS, OptionSpec, OptionValue, parse_option_text

GROUPS: tuple[tuple[str, str], ...] = (
    ("sampling", "Sampling"),
    ("penalties", "Penalties"),
    ("context", "Context"),
    ("load", "Loading"),
)
"""(group of the option table, heading) in the order of the form."""

STOP_SEPARATOR = ","


@dataclass(frozen=True)
class FormField:
    """One option in the form.

    Attributes:
        text: what the field holds at first, "" when the option is left to the model.
        placeholder: what is in force without it.
    """

    spec: OptionSpec
    text: str
    placeholder: str

    @property
    def label(self) -> str:
        """The option's name, with its unit."""
        return f"{self.spec.name} ({self.spec.unit})" if self.spec.unit else self.spec.name

    @property
    def note(self) -> str:
        """What the option does, and its bounds."""
        bounds = bounds_text(self.spec)
        reload = "reloads the model" if self.spec.load_time else ""
        return "; ".join(part for part in (self.spec.help, bounds, reload) if part)


def value_text(value: OptionValue) -> str:
    """A value as one types it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return STOP_SEPARATOR.join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def bounds_text(spec: OptionSpec) -> str:
    """The bounds of a number, "" without any."""
    if spec.minimum is not None and spec.maximum is not None:
        return f"{spec.minimum:g} to {spec.maximum:g}"
    if spec.minimum is not None:
        return f"{spec.minimum:g} or more"
    return f"{spec.maximum:g} or less" if spec.maximum is not None else ""


def fields(options: Mapping[str, OptionValue]) -> Iterator[tuple[str, list[FormField]]]:
    """The form: headings with their fields."""
    for group, heading in GROUPS:
        found = [spec for spec in OPTIONS if spec.group == group]
        yield (
            heading,
            [
                FormField(
                    spec,
                    value_text(options[spec.name]) if spec.name in options else "",
                    "auto" if spec.default is None else value_text(spec.default) or "none",
                )
                for spec in found
            ],
        )


def parse_field(spec: OptionSpec, text: str) -> OptionValue | None:
    """The value that a field holds, None when it is empty. Raises: InvalidOption."""
    text = text.strip()
    if not text:
        return None
    texts = [part for part in text.split(STOP_SEPARATOR) if part] if spec.type == "strings" else [text]
    try:
        value = parse_option_text(spec.name, texts)
    except InvalidOption:
        wanted = {"int": "a whole number", "float": "a number", "bool": "true or false"}[spec.type]
        raise InvalidOption(f"{spec.name} must be {wanted}") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = spec.minimum, spec.maximum
        # Written so that "nan" is refused as well.
        if not ((low is None or value >= low) and (high is None or value <= high) and abs(value) < 2**53):
            raise InvalidOption(f"{spec.name} must be {bounds_text(spec) or 'a smaller number'}")
    return value


def parse_form(texts: Mapping[str, str]) -> dict[str, OptionValue]:
    """The options that the fields hold, by name. Raises: InvalidOption for the first that is wrong."""
    parsed = {name: parse_field(OPTION_BY_NAME[name], text) for name, text in texts.items()}
    return {name: value for name, value in parsed.items() if value is not None}


def options_text(chat: Conversation, width: int) -> str:
    """A chat's settings in short: what differs from the model's, but for the temperature."""
    parts = ["system"] if chat.system else []
    parts += [f"{name} {value_text(value)}" for name, value in chat.options.items() if name != "temperature"]
    words = ", ".join(" ".join(part.split()) for part in parts)
    if not words:
        return "options"
    return words if len(words) <= width else words[: width - 1] + ELLIPSIS
