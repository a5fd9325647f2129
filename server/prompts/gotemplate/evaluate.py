"""Runs a parsed template over its data, with Go's rules and within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NoReturn

from server.errors import InvalidTemplate
from server.prompts.gotemplate.builtins import Builtin, CallFault
from server.prompts.gotemplate.formatting import printed
from server.prompts.gotemplate.nodes import (
    ActionNode,
    BoolNode,
    BranchNode,
    BreakNode,
    ChainNode,
    CommandNode,
    ContinueNode,
    DotNode,
    FieldNode,
    IdentifierNode,
    IfNode,
    ListNode,
    NilNode,
    Node,
    NumberNode,
    PipeNode,
    RangeNode,
    StringNode,
    TemplateNode,
    TextNode,
    Tree,
    VariableNode,
    WithNode,
    line_and_column,
)
from server.prompts.gotemplate.values import Struct, Value, encode, is_true, type_name

MAX_STEPS = 3_000_000
"""Nodes and commands that one rendering may run; some seconds."""

MAX_OUTPUT_CHARS = 32 << 20

MAX_DEPTH = 100
"""Nesting of blocks and template calls while running; each level takes a few of Python's frames."""

SHORT_CIRCUIT = frozenset({"and", "or"})


class _Missing:
    """Stands for "no argument came through the pipeline", which is not nil."""


_MISSING = _Missing()


class _Break(Exception):
    """Ends the innermost range."""


class _Continue(Exception):
    """Ends a round of the innermost range."""


def execute(tree: Tree, data: Value, functions: Mapping[str, Builtin]) -> str:
    """The text that the template makes of the data. Raises InvalidTemplate, also when a bound is passed."""
    run = _Run(tree, functions)
    run.variables.append(("$", data))
    try:
        run.walk(data, tree.root)
    except RecursionError as exc:
        raise InvalidTemplate("template data is nested too deeply to print") from exc
    return encode("".join(run.out)).decode("utf-8", "replace")


class _Run:
    def __init__(self, tree: Tree, functions: Mapping[str, Builtin]) -> None:
        self.out: list[str] = []
        self.variables: list[tuple[str, Value]] = []
        self._tree = tree
        self._functions = functions
        self._template_name = ""
        self._n_chars = 0
        self._n_steps = 0
        self._depth = 0

    def _fail(self, node: Node, message: str) -> NoReturn:
        line, column = line_and_column(self._tree.source, node.pos)
        shown = str(node)
        shown = shown[:20] + "..." if len(shown) > 20 else shown
        name = self._template_name
        raise InvalidTemplate(
            f'template: {name}:{line}:{column}: executing "{name}" at <{shown}>: {message}',
            hint="Correct the template at that line.",
        )

    def _step(self, node: Node) -> None:
        self._n_steps += 1
        if self._n_steps > MAX_STEPS:
            line, _ = line_and_column(self._tree.source, node.pos)
            raise InvalidTemplate(f"template takes more than {MAX_STEPS} steps, stopped in line {line}")

    def _write(self, text: str) -> None:
        self._n_chars += self._bounded(text, self._n_chars)
        self.out.append(text)

    def _bounded(self, text: str, n_chars_before: int = 0) -> int:
        if n_chars_before + len(text) > MAX_OUTPUT_CHARS:
            raise InvalidTemplate(f"template makes a text longer than {MAX_OUTPUT_CHARS} characters")
        return len(text)

    # nodes

    def walk(self, dot: Value, body: ListNode) -> None:
        """Run the nodes of a list."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidTemplate(f"template nests deeper than {MAX_DEPTH} levels while it runs")
        for node in body.nodes:
            self._step(node)
            self._walk_node(dot, node)
        self._depth -= 1

    def _walk_node(self, dot: Value, node: Node) -> None:
        if isinstance(node, TextNode):
            self._write(node.text)
        elif isinstance(node, ActionNode):
            value = self._pipeline(dot, node.pipe)
            if not node.pipe.decl:
                self._write(printed(value))
        elif isinstance(node, IfNode | WithNode):
            self._if_or_with(dot, node)
        elif isinstance(node, RangeNode):
            self._range(dot, node)
        elif isinstance(node, BreakNode):
            raise _Break
        elif isinstance(node, ContinueNode):
            raise _Continue
        elif isinstance(node, TemplateNode):
            self._call_template(dot, node)

    def _if_or_with(self, dot: Value, node: BranchNode) -> None:
        n_variables = len(self.variables)
        value = self._pipeline(dot, node.pipe)
        if is_true(value):
            self.walk(value if isinstance(node, WithNode) else dot, node.body)
        elif node.else_body is not None:
            self.walk(dot, node.else_body)
        del self.variables[n_variables:]

    def _range(self, dot: Value, node: RangeNode) -> None:
        n_outer = len(self.variables)
        over = self._pipeline(dot, node.pipe)
        rounds = self._rounds(node, over)
        depth, n_variables = self._depth, len(self.variables)
        ran = False
        for key, item in rounds:
            ran = True
            self._step(node)
            self._bind_round(node.pipe, key, item)
            try:
                self.walk(item, node.body)
            except _Break:
                break
            except _Continue:
                continue
            finally:
                self._depth = depth
                del self.variables[n_variables:]
        if not ran and node.else_body is not None:
            # Go lets a break in there end this range, not the one around it.
            with suppress(_Break):
                self.walk(dot, node.else_body)
            self._depth = depth
        del self.variables[n_outer:]

    def _rounds(self, node: RangeNode, over: Value) -> Iterable[tuple[Value, Value]]:
        if over is None:
            return ()
        if isinstance(over, list | tuple | bytes):
            return enumerate(over)
        if isinstance(over, dict):
            return ((key, over[key]) for key in sorted(over, key=encode))
        if isinstance(over, int) and not isinstance(over, bool):
            if len(node.pipe.decl) > 1:
                self._fail(node.pipe, f"can't use {over} to iterate over more than one variable")
            return zip(range(over), range(over), strict=True)
        self._fail(node.pipe, f"range can't iterate over {printed(over)}")

    def _bind_round(self, pipe: PipeNode, key: Value, item: Value) -> None:
        if not pipe.decl:
            return
        if pipe.is_assign:
            if len(pipe.decl) > 1:
                self._assign(pipe.decl[0], key)
                self._assign(pipe.decl[1], item)
            else:
                self._assign(pipe.decl[0], item)
            return
        self.variables[-1] = (self.variables[-1][0], item)
        if len(pipe.decl) > 1:
            self.variables[-2] = (self.variables[-2][0], key)

    def _call_template(self, dot: Value, node: TemplateNode) -> None:
        body = self._tree.defines.get(node.name)
        if body is None:
            self._fail(node, f'template "{node.name}" not defined')
        value = None if node.pipe is None else self._pipeline(dot, node.pipe)
        outer_variables, outer_name = self.variables, self._template_name
        self.variables, self._template_name = [("$", value)], node.name
        self.walk(value, body)
        self.variables, self._template_name = outer_variables, outer_name

    # variables

    def _assign(self, variable: VariableNode, value: Value) -> None:
        name = variable.ident[0]
        for at in range(len(self.variables) - 1, -1, -1):
            if self.variables[at][0] == name:
                self.variables[at] = (name, value)
                return
        self._fail(variable, f"undefined variable: {name}")

    def _lookup(self, variable: VariableNode) -> Value:
        name = variable.ident[0]
        for known, value in reversed(self.variables):
            if known == name:
                return value
        self._fail(variable, f"undefined variable: {name}")

    # pipelines

    def _pipeline(self, dot: Value, pipe: PipeNode) -> Value:
        self._step(pipe)
        value: Value = _MISSING
        for command in pipe.cmds:
            value = self._command(dot, command, value)
        for variable in pipe.decl:
            if pipe.is_assign:
                self._assign(variable, value)
            else:
                self.variables.append((variable.ident[0], value))
        return value

    def _command(self, dot: Value, command: CommandNode, piped: Value) -> Value:
        self._step(command)
        first = command.args[0]
        if isinstance(first, IdentifierNode):
            return self._call(dot, command, first.name, command.args[1:], piped)
        if isinstance(first, NilNode):
            self._fail(command, "nil is not a command")
        has_args = len(command.args) > 1 or piped is not _MISSING
        if has_args:
            if isinstance(first, FieldNode | ChainNode) or (
                isinstance(first, VariableNode) and len(first.ident) > 1
            ):
                self._operand(dot, first)
                name = first.fields[-1] if isinstance(first, ChainNode) else first.ident[-1]
                self._fail(first, f"{name} is not a method but has arguments")
            self._fail(first, f"can't give argument to non-function {first}")
        return self._operand(dot, first)

    def _operand(self, dot: Value, node: Node) -> Value:
        """The value of an argument."""
        if isinstance(node, FieldNode):
            return self._fields(node, dot, node.ident, from_variable=False)
        if isinstance(node, VariableNode):
            value = self._lookup(node)
            return self._fields(node, value, node.ident[1:], from_variable=True)
        if isinstance(node, StringNode):
            return node.text
        if isinstance(node, BoolNode | NumberNode):
            return node.value
        if isinstance(node, DotNode):
            return dot
        if isinstance(node, NilNode):
            return None
        if isinstance(node, PipeNode):
            return self._pipeline(dot, node)
        if isinstance(node, IdentifierNode):
            return self._call(dot, node, node.name, (), _MISSING)
        if isinstance(node, ChainNode):
            if isinstance(node.node, NilNode):
                self._fail(node, f"indirection through explicit nil in {node}")
            return self._fields(node, self._operand(dot, node.node), node.fields, from_variable=True)
        self._fail(node, f"can't handle {node} in an expression")

    def _fields(self, node: Node, value: Value, names: tuple[str, ...], *, from_variable: bool) -> Value:
        """Follow field names. Nil that a variable holds has nil fields; any other nil has none."""
        untyped = from_variable and value is None
        in_map = False
        for name in names:
            if value is None:
                if untyped:
                    continue
                self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
            if isinstance(value, dict):
                value, in_map = value.get(name), True
            elif isinstance(value, Struct) and name in value.fields:
                value, in_map = value.fields[name], False
            else:
                shown = "interface {}" if in_map else type_name(value)
                self._fail(node, f"can't evaluate field {name} in type {shown}")
        return value

    # functions

    def _call(self, dot: Value, node: Node, name: str, args: tuple[Node, ...], piped: Value) -> Value:
        if name in SHORT_CIRCUIT:
            return self._short_circuit(dot, node, name, args, piped)
        function = self._functions[name]
        values = [self._operand(dot, arg) for arg in args]
        if piped is not _MISSING:
            values.append(piped)
        self._check_arguments(node, name, function, values)
        try:
            result = function.call(*values)
        except CallFault as exc:
            self._fail(node, f"error calling {name}: {exc}")
        if isinstance(result, str):
            self._bounded(result)
        return result

    def _check_arguments(self, node: Node, name: str, function: Builtin, values: list[Value]) -> None:
        n_given = len(values)
        if n_given < function.least:
            want = f"at least {function.least}" if function.most is None else str(function.least)
            self._fail(node, f"wrong number of args for {name}: want {want} got {n_given}")
        if function.most is not None and n_given > function.most:
            self._fail(node, f"wrong number of args for {name}: want {function.most} got {n_given}")
        if function.types:
            for at, value in enumerate(values):
                expected = function.types[min(at, len(function.types) - 1)]
                if expected and type_name(value) != expected:
                    self._fail(node, f"wrong type for value; expected {expected}; got {type_name(value)}")

    def _short_circuit(
        self, dot: Value, node: Node, name: str, args: tuple[Node, ...], piped: Value
    ) -> Value:
        if not args and piped is _MISSING:
            self._fail(node, f"wrong number of args for {name}: want at least 1 got 0")
        value: Value = None
        for arg in args:
            value = self._operand(dot, arg)
            if is_true(value) == (name == "or"):
                return value
        return value if piped is _MISSING else piped
