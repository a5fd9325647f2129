"""The environment that chat templates run in: no way to Python, and bounds on rounds of loops and on texts.

A template comes with a model file and is not trusted. The bounds are written into its tree before it is
compiled, so they cost one call per round.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, cast

import jinja2
import jinja2.ext
import jinja2.filters
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
from jinja2.exceptions import SecurityError, TemplateError

MAX_TEXT_CHARS = 32 << 20
MAX_RANGE = 100_000
MAX_ROUNDS = 1_000_000
"""Rounds of all loops of one rendering together; some seconds."""

ROUND_COUNTER = "__round_counter"
_JOINED = "__joined"
_BOUNDED = "__bounded"
_WIDE_FILTERS = ("center", "indent", "wordwrap", "format", "replace", "join")


class RoundCounter:
    """Counts the rounds of loops of one rendering and stops one that takes too many."""

    def __init__(self) -> None:
        self._n_rounds = 0

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._n_rounds += 1
            if self._n_rounds > MAX_ROUNDS:
                raise SecurityError(f"more than {MAX_ROUNDS} rounds of loops")
            yield item


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja as Hugging Face sets it up for chat templates. `now` is the clock of `strftime_now`."""

    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self, now: Callable[[], datetime.datetime]) -> None:
        extensions = ["jinja2.ext.loopcontrols", _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        for name in _WIDE_FILTERS:
            self.filters[name] = _guarded(self.filters[name])
        self.filters[_BOUNDED] = bounded
        self.filters["tojson"] = tojson
        self.globals[_JOINED] = _joined
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda pattern: now().strftime(pattern)
        self.globals["range"] = _range

    def _generate(
        self, source: jinja2.nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        """Compile, with the bounds in the tree."""
        for loop in list(source.find_all(jinja2.nodes.For)):
            loop.iter = self._call_node(ROUND_COUNTER, [cast(jinja2.nodes.Expr, loop.iter)], loop.lineno)
        for block in list(source.find_all(jinja2.nodes.AssignBlock)):
            block.filter = jinja2.nodes.Filter(
                block.filter, _BOUNDED, [], [], None, None, lineno=block.lineno, environment=self
            )
        for concat in list(source.find_all(jinja2.nodes.Concat)):
            concat.nodes = [self._call_node(_JOINED, concat.nodes, concat.lineno)]
        return super()._generate(source, name, filename, defer_init)

    def _call_node(self, function: str, args: list[jinja2.nodes.Expr], lineno: int) -> jinja2.nodes.Call:
        name = jinja2.nodes.Name(function, "load", lineno=lineno, environment=self)
        return jinja2.nodes.Call(name, args, [], None, None, lineno=lineno, environment=self)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("powers are not allowed")
        if operator == "*":
            _check_product(left, right)
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        return bounded(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        method = getattr(obj, "__wrapped__", obj)  # Jinja wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes):
            _check_widths(owner, *args, *kwargs.values())
        return bounded(super().call(context, obj, *args, **kwargs))


def bounded(value: Any) -> Any:
    """The value; SecurityError for a text or list that is too long."""
    if isinstance(value, str | bytes | list | tuple) and len(value) > MAX_TEXT_CHARS:
        raise SecurityError(f"a text longer than {MAX_TEXT_CHARS} characters")
    return value


def _joined(*parts: Any) -> str:
    return str(bounded("".join(map(str, parts))))


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that may widen a text, with its numbers and its result bounded."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        _check_widths(*args, *kwargs.values())
        return bounded(function(*args, **kwargs))

    if hasattr(function, "jinja_pass_arg"):
        guarded.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return guarded


def _check_widths(*values: Any) -> None:
    """Refuse numbers, also in format strings, that would make a text of their length."""
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_TEXT_CHARS:
            raise SecurityError(f"a width of more than {MAX_TEXT_CHARS}")
        if isinstance(value, str) and _has_wide_field(value):
            raise SecurityError(f"a width of more than {MAX_TEXT_CHARS}")


def _has_wide_field(text: str) -> bool:
    if "%" not in text and "{" not in text:
        return False
    run = 0
    in_field = False
    for char in text:
        if char in "%{":
            in_field, run = True, 0
        elif in_field and char.isdigit():
            run += 1
            if run > 7:
                return True
        elif char in "}\n" or (in_field and char.isspace()):
            in_field = False
        else:
            run = 0
    return False


def _check_product(left: Any, right: Any) -> None:
    for sequence, factor in ((left, right), (right, left)):
        if isinstance(sequence, str | bytes | list | tuple) and isinstance(factor, int):
            if len(sequence) * factor > MAX_TEXT_CHARS:
                raise SecurityError(f"a text longer than {MAX_TEXT_CHARS} characters")


class _Generation(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}`, a mark for training: its body is rendered as it is."""

    tags: set[str] = {"generation"}  # noqa: RUF012 (the type of the base class)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise SecurityError(f"a range of more than {MAX_RANGE} numbers")
    return numbers


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Hugging Face writes it: blanks after comma and colon, no escapes for HTML."""
    if isinstance(indent, int):
        _check_widths(indent)
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_listed,
    )


def _listed(value: Any) -> list[Any]:
    """A list of what can only be iterated, as filters make it."""
    if isinstance(value, jinja2.Undefined):
        raise TypeError("an undefined value has no JSON")
    return list(value)
