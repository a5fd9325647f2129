"""What a template's tree tells before it runs: its variables, its tags, where a turn is cut."""

from __future__ import annotations

from collections.abc import Iterator

from server.errors import InvalidTemplate
from server.prompts.gotemplate.nodes import (
    ActionNode,
    BranchNode,
    CommandNode,
    FieldNode,
    IfNode,
    ListNode,
    Node,
    PipeNode,
    RangeNode,
    TemplateNode,
    TextNode,
    Tree,
    VariableNode,
)

_GO_SPACE = " \t\n\v\f\r\x85\xa0"


def identifiers(tree: Tree) -> frozenset[str]:
    """Names of all fields and variables, in lower case: how Ollama tells what a template can do.

    Raises InvalidTemplate for a template call without data, which Ollama refuses when it parses.
    """
    names: set[str] = set()
    for root in (tree.root, *tree.defines.values()):
        for node in _descendants(root):
            if isinstance(node, TemplateNode) and node.pipe is None:
                raise InvalidTemplate("undefined template specified")
            if isinstance(node, FieldNode | VariableNode):
                names.update(name.lower() for name in node.ident)
    return frozenset(names)


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, ListNode):
        return node.nodes
    if isinstance(node, BranchNode):
        return (node.pipe, node.body) if node.else_body is None else (node.pipe, node.body, node.else_body)
    if isinstance(node, ActionNode):
        return (node.pipe,)
    if isinstance(node, TemplateNode):
        return () if node.pipe is None else (node.pipe,)
    if isinstance(node, PipeNode):
        return node.cmds
    if isinstance(node, CommandNode):
        return node.args
    return ()


def _descendants(node: Node) -> Iterator[Node]:
    """The node and all below it, in reading order."""
    yield node
    for child in _children(node):
        yield from _descendants(child)


def thinking_tags(tree: Tree) -> tuple[str, str] | None:
    """Opening and closing tag of reasoning: the first and the last text around `.Thinking` in a range over
    `.Messages`. The last such place counts. None when either is missing.
    """
    opening = closing = ""

    def visit(node: Node, messages_range: bool, nearest_list: ListNode | None) -> None:
        nonlocal opening, closing
        if isinstance(node, FieldNode) and node.ident[0] == "Thinking" and messages_range and nearest_list:
            first, last = nearest_list.nodes[0], nearest_list.nodes[-1]
            opening = first.text.strip(_GO_SPACE) if isinstance(first, TextNode) else opening
            closing = last.text.strip(_GO_SPACE) if isinstance(last, TextNode) else closing
        if isinstance(node, RangeNode):
            messages_range = any(
                isinstance(inner, FieldNode) and inner.ident[0] == "Messages"
                for inner in _descendants(node.pipe)
            )
        if isinstance(node, ListNode):
            nearest_list = node
        for child in _children(node):
            visit(child, messages_range, nearest_list)

    visit(tree.root, False, None)
    return (opening, closing) if opening and closing else None


def tool_call_tag(tree: Tree) -> str:
    """Text that opens a tool call: the first text where the template prints `.ToolCalls`, "{" when none."""
    branch = _tool_calls_branch(tree.root)
    text = None if branch is None else _first_text(branch.body.nodes)
    if text is None:
        return "{"
    tag = text.text.replace("\r\n", "\n").partition("{")[0].strip(_GO_SPACE)
    return tag or "{"


def _tool_calls_branch(body: ListNode) -> IfNode | None:
    for node in body.nodes:
        if not isinstance(node, BranchNode):
            continue
        if isinstance(node, IfNode) and _mentions_tool_calls(node.pipe):
            return node
        for inner in (node.body, node.else_body):
            found = None if inner is None else _tool_calls_branch(inner)
            if found is not None:
                return found
    return None


def _mentions_tool_calls(pipe: PipeNode) -> bool:
    return any(
        isinstance(arg, FieldNode) and "ToolCalls" in arg.ident for cmd in pipe.cmds for arg in cmd.args
    )


def _first_text(nodes: tuple[Node, ...]) -> TextNode | None:
    """The first text that is not blank; a block without one, or an action, ends the search."""
    for node in nodes:
        if isinstance(node, TextNode):
            if node.text.strip(_GO_SPACE):
                return node
        elif isinstance(node, BranchNode):
            found = _first_text(node.body.nodes)
            if found is None and node.else_body is not None:
                found = _first_text(node.else_body.nodes)
            return found
        elif isinstance(node, ActionNode):
            return None
    return None


def cut_after_response(tree: Tree) -> Tree:
    """The tree without what follows the first `.Response` that it prints, for the turn to be answered.

    Blocks stay (so that a condition around the response still holds), their later texts and actions go.
    """
    cutter = _Cutter()
    return Tree(tree.source, cutter.cut_list(tree.root), tree.defines)


class _Cutter:
    def __init__(self) -> None:
        self._done = False

    def cut_list(self, body: ListNode) -> ListNode:
        kept = [node for node in map(self._cut, body.nodes) if node is not None]
        return ListNode(body.pos, tuple(kept))

    def _cut(self, node: Node) -> Node | None:
        if self._done:
            return None
        if isinstance(node, BranchNode):
            body = self.cut_list(node.body)
            # The branch that is not taken must not lose its nodes to a response in the one that is.
            in_body, self._done = self._done, False
            else_body = None if node.else_body is None else self.cut_list(node.else_body)
            self._done = self._done or in_body
            return type(node)(node.pos, node.pipe, body, else_body)
        if isinstance(node, ActionNode) and _prints_response(node.pipe):
            self._done = True
        return node


def _prints_response(node: Node) -> bool:
    return any(isinstance(inner, FieldNode) and "Response" in inner.ident for inner in _descendants(node))
