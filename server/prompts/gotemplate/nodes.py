"""The tree of a parsed template; node kinds and nesting are those of Go's text/template/parse.

Everything that Ollama infers from a template (variables, tags, where a turn is cut) depends on this shape: an
`else if` is an if node inside the else list, text nodes are what is left after trimming.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a template.

    Attributes:
        written: source of a node that has no parts, for error texts.
        pos: offset in the source, in characters.
    """

    written: ClassVar[str] = ""
    pos: int

    def __str__(self) -> str:
        return self.written


@dataclass(frozen=True, slots=True)
class TextNode(Node):
    text: str


class DotNode(Node):
    __slots__ = ()
    written = "."


class NilNode(Node):
    __slots__ = ()
    written = "nil"


@dataclass(frozen=True, slots=True)
class BoolNode(Node):
    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class NumberNode(Node):
    """`value` is a float where Go's untyped constant would be one."""

    text: str
    value: int | float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class StringNode(Node):
    quoted: str
    text: str

    def __str__(self) -> str:
        return self.quoted


@dataclass(frozen=True, slots=True)
class IdentifierNode(Node):
    """Name of a function."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FieldNode(Node):
    """`.A.B` is ("A", "B")."""

    ident: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.ident)


@dataclass(frozen=True, slots=True)
class VariableNode(Node):
    """`$x.A` is ("$x", "A")."""

    ident: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.ident)


@dataclass(frozen=True, slots=True)
class ChainNode(Node):
    """Fields of a term that is no field or variable: `(index .X 0).Role`."""

    node: Node
    fields: tuple[str, ...]

    def __str__(self) -> str:
        term = f"({self.node})" if isinstance(self.node, PipeNode) else str(self.node)
        return term + "".join(f".{name}" for name in self.fields)


@dataclass(frozen=True, slots=True)
class CommandNode(Node):
    args: tuple[Node, ...]

    def __str__(self) -> str:
        return " ".join(f"({arg})" if isinstance(arg, PipeNode) else str(arg) for arg in self.args)


@dataclass(frozen=True, slots=True)
class PipeNode(Node):
    """`decl` are the variables on the left; `is_assign` tells `=` from `:=`."""

    is_assign: bool
    decl: tuple[VariableNode, ...]
    cmds: tuple[CommandNode, ...]

    def __str__(self) -> str:
        commands = " | ".join(str(command) for command in self.cmds)
        if not self.decl:
            return commands
        return f"{', '.join(map(str, self.decl))} {'=' if self.is_assign else ':='} {commands}"


@dataclass(frozen=True, slots=True)
class ListNode(Node):
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ActionNode(Node):
    pipe: PipeNode


@dataclass(frozen=True, slots=True)
class BranchNode(Node):
    pipe: PipeNode
    body: ListNode
    else_body: ListNode | None


class IfNode(BranchNode):
    __slots__ = ()


class WithNode(BranchNode):
    __slots__ = ()


class RangeNode(BranchNode):
    __slots__ = ()


class BreakNode(Node):
    __slots__ = ()


class ContinueNode(Node):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TemplateNode(Node):
    name: str
    pipe: PipeNode | None

    def __str__(self) -> str:
        return f'{{{{template "{self.name}"{"" if self.pipe is None else f" {self.pipe}"}}}}}'


class ElseEnding(Node):
    """What ends a list while parsing; never part of a tree."""

    __slots__ = ()
    written = "{{else}}"


class EndEnding(Node):
    """As `ElseEnding`."""

    __slots__ = ()
    written = "{{end}}"


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed source: its own nodes and the templates that it defines, by name."""

    source: str
    root: ListNode
    defines: dict[str, ListNode]


def is_empty(body: ListNode | None) -> bool:
    """Whether a body is missing or prints only blanks."""
    return body is None or all(isinstance(node, TextNode) and not node.text.strip() for node in body.nodes)


def line_and_column(source: str, pos: int) -> tuple[int, int]:
    """1-based line and Go's 0-based byte column of an offset."""
    before = source[:pos]
    line_start = before.rfind("\n") + 1
    return before.count("\n") + 1, len(before[line_start:].encode("utf-8", "replace"))
