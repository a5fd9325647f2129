"""From tokens to the tree, by the rules of Go's text/template parser."""

from __future__ import annotations

from collections.abc import Iterable

from server.errors import InvalidTemplate
from server.prompts.gotemplate.constants import number_value, unquote
from server.prompts.gotemplate.lexer import KEYWORDS, Kind, Lexer, Token, syntax_error
from server.prompts.gotemplate.nodes import (
    ActionNode,
    BoolNode,
    BranchNode,
    BreakNode,
    ChainNode,
    CommandNode,
    ContinueNode,
    DotNode,
    ElseEnding,
    EndEnding,
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
    is_empty,
)
from server.types.quoting import go_quote

MAX_SOURCE_CHARS = 1 << 20
MAX_DEPTH = 80
"""Nesting of blocks and parentheses; more than any real template, less than Python's stack."""

_OPERANDS = frozenset(
    {
        Kind.BOOL,
        Kind.CHAR_CONSTANT,
        Kind.DOT,
        Kind.FIELD,
        Kind.IDENTIFIER,
        Kind.NUMBER,
        Kind.NIL,
        Kind.RAW_STRING,
        Kind.STRING,
        Kind.VARIABLE,
        Kind.LEFT_PAREN,
    }
)
_BRANCHES: dict[Kind, tuple[str, type[BranchNode]]] = {
    Kind.IF: ("if", IfNode),
    Kind.RANGE: ("range", RangeNode),
    Kind.WITH: ("with", WithNode),
}


def parse(source: str, functions: Iterable[str]) -> Tree:
    """Parse a template that may call the named functions. Raises InvalidTemplate with the line."""
    if len(source) > MAX_SOURCE_CHARS:
        raise InvalidTemplate(f"template of {len(source)} characters is longer than {MAX_SOURCE_CHARS}")
    return _Parser(source, frozenset(functions)).parse()


class _Parser:
    def __init__(self, source: str, functions: frozenset[str]) -> None:
        self._source = source
        self._functions = functions
        self._tokens = Lexer(source).tokens()
        self._ahead: list[Token] = []  # pushed-back tokens, the next one last
        self._last = Token(Kind.EOF, 0, "")
        self._variables = ["$"]
        self._range_depth = 0
        self._depth = 0
        self._defines: dict[str, ListNode] = {}

    def parse(self) -> Tree:
        nodes: list[Node] = []
        while (token := self._next()).kind is not Kind.EOF:
            if token.kind is Kind.LEFT and self._peek_skipping_space().kind is Kind.DEFINE:
                self._next_skipping_space()
                self._definition("define clause")
                continue
            node = self._text_or_action(token)
            if isinstance(node, ElseEnding | EndEnding):
                raise self._error(f"unexpected {node}", token)
            nodes.append(node)
        return Tree(self._source, ListNode(0, tuple(nodes)), self._defines)

    # tokens

    def _next(self) -> Token:
        self._last = self._ahead.pop() if self._ahead else next(self._tokens)
        return self._last

    def _push_back(self, *tokens: Token) -> None:
        """Give tokens back, in the order in which they were read."""
        self._ahead.extend(reversed(tokens))

    def _peek(self) -> Token:
        token = self._next()
        self._push_back(token)
        return token

    def _next_skipping_space(self) -> Token:
        while (token := self._next()).kind is Kind.SPACE:
            pass
        return token

    def _peek_skipping_space(self) -> Token:
        token = self._next_skipping_space()
        self._push_back(token)
        return token

    def _expect(self, kind: Kind, context: str) -> Token:
        token = self._next_skipping_space()
        if token.kind is not kind:
            raise self._unexpected(token, context)
        return token

    # errors

    def _error(self, message: str, token: Token | None = None) -> InvalidTemplate:
        return syntax_error(self._source, (token or self._last).pos, message)

    def _unexpected(self, token: Token, context: str) -> InvalidTemplate:
        if token.kind is Kind.EOF:
            shown = "EOF"
        elif token.kind is Kind.DOT or token.text in KEYWORDS:
            shown = f"<{token.text}>"
        else:
            shown = go_quote(token.text[:10]) + ("..." if len(token.text.encode()) > 10 else "")
        return self._error(f"unexpected {shown} in {context}", token)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels")

    # blocks

    def _text_or_action(self, token: Token) -> Node:
        if token.kind is Kind.TEXT:
            return TextNode(token.pos, token.text)
        if token.kind is Kind.LEFT:
            return self._action()
        raise self._unexpected(token, "input")

    def _action(self) -> Node:
        token = self._next_skipping_space()
        kind = token.kind
        if kind in _BRANCHES:
            return self._branch(token)
        if kind is Kind.ELSE:
            return self._else(token)
        if kind is Kind.END:
            self._expect(Kind.RIGHT, "end")
            return EndEnding(token.pos)
        if kind is Kind.BREAK or kind is Kind.CONTINUE:
            return self._leave_loop(token)
        if kind is Kind.TEMPLATE:
            return self._template_call(token)
        if kind is Kind.BLOCK:
            return self._block(token)
        self._push_back(token)
        return ActionNode(token.pos, self._pipeline("command", Kind.RIGHT))

    def _else(self, token: Token) -> Node:
        following = self._peek_skipping_space()
        if following.kind not in (Kind.IF, Kind.WITH):
            self._expect(Kind.RIGHT, "else")
        return ElseEnding(token.pos)

    def _leave_loop(self, token: Token) -> Node:
        if not self._range_depth:
            raise self._error(f"{{{{{token.text}}}}} outside {{{{range}}}}", token)
        self._expect(Kind.RIGHT, f"{{{{{token.text}}}}}")
        return BreakNode(token.pos) if token.kind is Kind.BREAK else ContinueNode(token.pos)

    def _branch(self, token: Token) -> BranchNode:
        self._enter()
        context, node_type = _BRANCHES[token.kind]
        n_variables = len(self._variables)
        pipe = self._pipeline(context, Kind.RIGHT)
        self._range_depth += token.kind is Kind.RANGE
        body, ending = self._list()
        self._range_depth -= token.kind is Kind.RANGE
        else_body: ListNode | None = None
        if isinstance(ending, ElseEnding):
            following = self._peek_skipping_space()
            if following.kind is token.kind and following.kind is not Kind.RANGE:
                self._next_skipping_space()
                else_body = ListNode(following.pos, (self._branch(following),))
            else:
                else_body, ending = self._list()
                if not isinstance(ending, EndEnding):
                    raise self._error("expected end; found {{else}}")
        del self._variables[n_variables:]
        self._depth -= 1
        return node_type(token.pos, pipe, body, else_body)

    def _list(self) -> tuple[ListNode, Node]:
        """Nodes up to an `else` or `end`, and that ending."""
        start = self._peek().pos
        nodes: list[Node] = []
        while (token := self._next()).kind is not Kind.EOF:
            node = self._text_or_action(token)
            if isinstance(node, ElseEnding | EndEnding):
                return ListNode(start, tuple(nodes)), node
            nodes.append(node)
        raise self._error("unexpected EOF", token)

    def _definition(self, context: str) -> None:
        name = self._string_token(context)
        self._expect(Kind.RIGHT, context)
        self._add_define(name, self._separate_list(context))

    def _separate_list(self, context: str) -> ListNode:
        """The body of a template of its own: no variables of the outer one."""
        variables, range_depth = self._variables, self._range_depth
        self._variables, self._range_depth = ["$"], 0
        self._enter()
        body, ending = self._list()
        self._depth -= 1
        self._variables, self._range_depth = variables, range_depth
        if not isinstance(ending, EndEnding):
            raise self._error(f"unexpected {ending} in {context}")
        return body

    def _add_define(self, name: str, body: ListNode) -> None:
        if not is_empty(self._defines.get(name)) and not is_empty(body):
            raise self._error(f'template: multiple definition of template "{name}"')
        if name not in self._defines or is_empty(self._defines[name]):
            self._defines[name] = body

    def _block(self, token: Token) -> Node:
        context = "block clause"
        name = self._string_token(context)
        pipe = self._pipeline(context, Kind.RIGHT)
        self._add_define(name, self._separate_list(context))
        return TemplateNode(token.pos, name, pipe)

    def _template_call(self, token: Token) -> Node:
        context = "template clause"
        name = self._string_token(context)
        following = self._next_skipping_space()
        pipe: PipeNode | None = None
        if following.kind is not Kind.RIGHT:
            self._push_back(following)
            pipe = self._pipeline(context, Kind.RIGHT)
        return TemplateNode(token.pos, name, pipe)

    def _string_token(self, context: str) -> str:
        token = self._next_skipping_space()
        if token.kind not in (Kind.STRING, Kind.RAW_STRING):
            raise self._unexpected(token, context)
        return self._unquoted(token)

    def _unquoted(self, token: Token) -> str:
        try:
            return unquote(token.text)
        except ValueError as exc:
            raise self._error(str(exc), token) from exc

    # pipelines

    def _pipeline(self, context: str, end: Kind) -> PipeNode:
        self._enter()
        start = self._peek_skipping_space().pos
        is_assign, decl = self._declarations(context)
        commands: list[CommandNode] = []
        while True:
            token = self._next_skipping_space()
            if token.kind is end:
                break
            if token.kind not in _OPERANDS:
                raise self._unexpected(token, context)
            self._push_back(token)
            commands.append(self._command())
        self._check_pipeline(commands, context)
        self._depth -= 1
        return PipeNode(start, is_assign, tuple(decl), tuple(commands))

    def _declarations(self, context: str) -> tuple[bool, list[VariableNode]]:
        decl: list[VariableNode] = []
        while self._peek_skipping_space().kind is Kind.VARIABLE:
            variable = self._next_skipping_space()
            after = self._next()
            following = after if after.kind is not Kind.SPACE else self._next_skipping_space()
            if following.kind in (Kind.ASSIGN, Kind.DECLARE):
                decl.append(VariableNode(variable.pos, (variable.text,)))
                self._variables.append(variable.text)
                return following.kind is Kind.ASSIGN, decl
            if following.kind is Kind.CHAR and following.text == ",":
                decl.append(VariableNode(variable.pos, (variable.text,)))
                self._variables.append(variable.text)
                if context == "range" and len(decl) < 2:
                    if self._peek_skipping_space().kind in (Kind.VARIABLE, Kind.RIGHT, Kind.RIGHT_PAREN):
                        continue
                    raise self._error("range can only initialize variables")
                raise self._error(f"too many declarations in {context}")
            if after is following:
                self._push_back(variable, after)
            else:
                self._push_back(variable, after, following)
            break
        return False, decl

    def _check_pipeline(self, commands: list[CommandNode], context: str) -> None:
        if not commands:
            raise self._error(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], start=2):
            if isinstance(command.args[0], BoolNode | DotNode | NilNode | NumberNode | StringNode):
                raise self._error(f"non executable command in pipeline stage {stage}")

    def _command(self) -> CommandNode:
        start = self._peek_skipping_space().pos
        args: list[Node] = []
        while True:
            self._peek_skipping_space()
            operand = self._operand()
            if operand is not None:
                args.append(operand)
            token = self._next()
            if token.kind is Kind.SPACE:
                continue
            if token.kind in (Kind.RIGHT, Kind.RIGHT_PAREN):
                self._push_back(token)
            elif token.kind is not Kind.PIPE:
                raise self._unexpected(token, "operand")
            break
        if not args:
            raise self._error("empty command")
        return CommandNode(start, tuple(args))

    def _operand(self) -> Node | None:
        """A term with the fields behind it, which stands, as in Go, where the first of those does."""
        node = self._term()
        if node is None or self._peek().kind is not Kind.FIELD:
            return node
        pos = self._peek().pos
        fields: list[str] = []
        while self._peek().kind is Kind.FIELD:
            fields.append(self._next().text[1:])
        if isinstance(node, FieldNode):
            return FieldNode(pos, (*node.ident, *fields))
        if isinstance(node, VariableNode):
            return VariableNode(pos, (*node.ident, *fields))
        if isinstance(node, BoolNode | StringNode | NumberNode | NilNode | DotNode):
            raise self._error(f"unexpected . after term {go_quote(str(node))}")
        return ChainNode(pos, node, tuple(fields))

    def _term(self) -> Node | None:
        token = self._next_skipping_space()
        match token.kind:
            case Kind.IDENTIFIER:
                if token.text not in self._functions:
                    raise self._error(f'function "{token.text}" not defined', token)
                return IdentifierNode(token.pos, token.text)
            case Kind.DOT:
                return DotNode(token.pos)
            case Kind.NIL:
                return NilNode(token.pos)
            case Kind.VARIABLE:
                if token.text not in self._variables:
                    raise self._error(f'undefined variable "{token.text}"', token)
                return VariableNode(token.pos, (token.text,))
            case Kind.FIELD:
                return FieldNode(token.pos, (token.text[1:],))
            case Kind.BOOL:
                return BoolNode(token.pos, token.text == "true")
            case Kind.NUMBER | Kind.CHAR_CONSTANT:
                return self._number(token)
            case Kind.LEFT_PAREN:
                return self._pipeline("parenthesized pipeline", Kind.RIGHT_PAREN)
            case Kind.STRING | Kind.RAW_STRING:
                return StringNode(token.pos, token.text, self._unquoted(token))
        self._push_back(token)
        return None

    def _number(self, token: Token) -> NumberNode:
        try:
            return NumberNode(token.pos, token.text, number_value(token.text))
        except ValueError as exc:
            raise self._error(str(exc), token) from exc
