"""The environment that chat templates run in: no way to Python, bounds on time, rounds of loops and memory.

A template comes with a model file and is not trusted. The bounds are written into its tree before it is
compiled; filters, calls and operators check what they are given and what they make, before a large text is
made as far as its length can be told.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NoReturn, cast

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
from jinja2.exceptions import SecurityError, TemplateError

from server.prompts import jinja_bounds
from server.prompts.jinja_bounds import bounded, check_filter, check_method, check_product, joined
from server.prompts.jinja_json import tojson

MAX_TEXT_CHARS = jinja_bounds.MAX_TEXT_CHARS
MAX_RANGE: Final = 100_000
MAX_ROUNDS: Final = 1_000_000
"""Rounds of all loops of one rendering together."""
MAX_SECONDS = 5.0
"""Of the processor, for one rendering; that of a long conversation takes milliseconds."""
MAX_PATTERN_CHARS: Final = 1_000

_ROUNDS = "__rounds"
_JOINED = "__joined"
_BUILT = "__built"
_UNSAFE_GLOBALS = ("lipsum",)
"""Makes as much text as it is asked for."""


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja as Hugging Face sets it up for chat templates. `now` is the clock of `strftime_now`."""

    intercepted_binops = frozenset(("*", "**", "+", "%"))
    concat = staticmethod(joined)

    def __init__(self, now: Callable[[], datetime.datetime]) -> None:
        extensions = ["jinja2.ext.loopcontrols", _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        self._until_s = 0.0
        self._n_rounds = 0
        self._given: frozenset[int] = frozenset()
        self.filters["tojson"] = tojson
        for name, function in tuple(self.filters.items()):
            self.filters[name] = self._guarded(name, function)
        for name in _UNSAFE_GLOBALS:
            del self.globals[name]
        self.globals[_JOINED] = lambda *parts: joined(map(str, parts))
        self.globals[_BUILT] = bounded
        self.globals[_ROUNDS] = self._rounds
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda pattern: _strftime(now(), pattern)
        self.globals["range"] = _range

    def begin(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The variables, for a rendering that begins now. What they hold cannot be changed by it."""
        self._until_s = time.thread_time() + MAX_SECONDS
        self._n_rounds = 0
        self._given = frozenset(_lists_in(variables))
        return variables

    def _generate(
        self, source: jinja2.nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        """Compile, with the bounds in the tree."""
        for loop in list(source.find_all(jinja2.nodes.For)):
            loop.iter = self._call_node(_ROUNDS, [cast(jinja2.nodes.Expr, loop.iter)], loop.lineno)
        for concat in list(source.find_all(jinja2.nodes.Concat)):
            concat.nodes = [self._call_node(_JOINED, concat.nodes, concat.lineno)]
        _Builders(self).visit(source)
        return super()._generate(source, name, filename, defer_init)

    def _call_node(self, function: str, args: list[jinja2.nodes.Expr], lineno: int) -> jinja2.nodes.Call:
        name = jinja2.nodes.Name(function, "load", lineno=lineno, environment=self)
        return jinja2.nodes.Call(name, args, [], None, None, lineno=lineno, environment=self)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As for Hugging Face, and `append` and `pop` for lists that the template has made."""
        if attr in ("append", "pop") and type(obj) is list:
            return id(obj) not in self._given
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self._tick()
        if operator == "**":
            raise SecurityError("powers are not allowed")
        if operator == "*":
            check_product(left, right)
        if operator == "%" and isinstance(left, str):
            check_filter("format", (left, *(right if isinstance(right, tuple) else (right,))))
        return bounded(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._tick()
        method = getattr(obj, "__wrapped__", obj)  # Jinja wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes | list):
            check_method(owner, getattr(method, "__name__", ""), args, kwargs)
        return bounded(super().call(context, obj, *args, **kwargs))

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter with its arguments and its result bounded."""
        passed = getattr(function, "jinja_pass_arg", None)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            self._tick()
            check_filter(name, args[1:] if passed else args, kwargs)
            return bounded(function(*args, **kwargs))

        if passed is not None:
            guarded.jinja_pass_arg = passed  # type: ignore[attr-defined]
        for mark in ("jinja_async_variant", "__wrapped__"):
            if hasattr(function, mark):
                setattr(guarded, mark, getattr(function, mark))
        return guarded

    def _rounds(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._n_rounds += 1
            if self._n_rounds > MAX_ROUNDS:
                raise SecurityError(f"more than {MAX_ROUNDS} rounds of loops")
            self._tick()
            yield item

    def _tick(self) -> None:
        if time.thread_time() > self._until_s:
            raise SecurityError(f"it takes longer than {MAX_SECONDS:g} s")


class _Builders(jinja2.visitor.NodeTransformer):
    """Has what a list, tuple or dict is made of weighed, so that it cannot double with each round.

    Those that are assigned to, and constants, stay as they are.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def _built(self, node: Any) -> Any:
        node = self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":
            return node
        return self._sandbox._call_node(_BUILT, [node], node.lineno)

    visit_List = visit_Dict = visit_Tuple = _built


class _Generation(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}`, a mark for training: its body is rendered as it is."""

    tags: set[str] = {"generation"}  # noqa: RUF012 (the type of the base class)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _lists_in(value: Any) -> Iterator[int]:
    """Identities of all lists in the variables, which belong to the caller."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            yield id(item)
            waiting.extend(part for part in item if isinstance(part, list | dict))
        elif isinstance(item, dict):
            waiting.extend(part for part in item.values() if isinstance(part, list | dict))


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise SecurityError(f"a range of more than {MAX_RANGE} numbers")
    return numbers


def _strftime(now: datetime.datetime, pattern: str) -> str:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise SecurityError(f"a pattern of a date of more than {MAX_PATTERN_CHARS} characters")
    return now.strftime(pattern)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
