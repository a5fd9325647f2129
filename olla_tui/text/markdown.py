"""Lay out one Markdown block in lines for a width.

Foreign text is drawn as it is: there is no markup of ours in it, HTML is shown and not interpreted, and a
link shows where it leads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style

from olla_tui.text.blocks import Block, BlockKind
from olla_tui.text.fence import FenceLines, language_of
from olla_tui.text.styles import TextStyles
from olla_tui.text.table import lay_out_table
from olla_tui.text.wrap import Line, Span, cells, fit, wrap

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

MIN_BOX_WIDTH = 24
"""Below this a fence has no room for its box."""

WIDEST_CHARACTER = 2
"""Cells; marks and bars are left out where they would leave less than this."""

COPY_HINT = "y copy"

_SPECIAL = re.compile(
    r"[\\`*_\[\]!<>&~|#]|https?:|  \n|^(?: {4}|[ \t]*(?:[-+=>]|\d{1,9}[.)]|\t))", re.MULTILINE
)


def warm_up() -> None:
    """Make the parser, so that the first Markdown is laid out at once. From any thread."""
    _parser()


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    # Half of what this package imports, and an empty chat is shown without it.
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _is_plain(source: str) -> bool:
    """Whether a paragraph has nothing in it that a parser would have to look at."""
    return not _SPECIAL.search(source)


def lay_out(block: Block, width: int, styles: TextStyles) -> list[Line]:
    """Lines of a block, at least one, none of them wider than `width` cells (at least 1)."""
    width = max(width, 1)
    if block.kind is BlockKind.FENCE:
        return lay_out_fence(block, width, styles)
    if block.kind is BlockKind.TEXT and _is_plain(block.source):
        stripped = "\n".join(line.strip() for line in block.source.split("\n"))
        return wrap([(stripped, styles.text)], width)
    lines = _tree_lines(block, width, styles)
    # What Markdown draws nothing for, the definition of a link or an empty quote, is shown as it was written.
    return lines or wrap([(block.source, styles.text)], width)


def _tree_lines(block: Block, width: int, styles: TextStyles) -> list[Line]:
    from markdown_it.tree import SyntaxTreeNode

    tree = SyntaxTreeNode(_parser().parse(block.source))
    return _Layout(styles, first_number=block.number).blocks(tree.children, width, gaps=True)


def lay_out_fence(
    block: Block, width: int, styles: TextStyles, code_lines: FenceLines | None = None
) -> list[Line]:
    """Lines of a fence; `code_lines` is the memory of one that grows, made by `fence_memory`."""
    if code_lines is None:
        code_lines = fence_memory(block, width, styles)
    return _box(code_lines.update(block.source), language_of(block.info), width, styles, closed=block.closed)


def fence_memory(block: Block, width: int, styles: TextStyles) -> FenceLines:
    """What spares the lines of a growing fence from being coloured again."""
    return FenceLines(block.info, width - 4 if width >= MIN_BOX_WIDTH else width, styles)


def copy_text(block: Block) -> str:
    """What copying a block gives: code without its fence, else the Markdown."""
    return block.source


def _box(code: Sequence[Line], title: str, width: int, styles: TextStyles, *, closed: bool) -> list[Line]:
    if width < MIN_BOX_WIDTH:
        return list(code)
    glyphs, border = styles.glyphs, styles.muted
    name = fit(title or "text", width - len(COPY_HINT) - 10)
    rule = glyphs.horizontal * (width - cells([Segment(name)]) - len(COPY_HINT) - 8)
    top = [
        Segment(f"{glyphs.top_left}{glyphs.horizontal} ", border),
        Segment(name, styles.fence_title),
        Segment(f" {rule} {COPY_HINT} {glyphs.horizontal}{glyphs.top_right}", border),
    ]
    lines: list[Line] = [top]
    left, right = Segment(f"{glyphs.vertical} ", border), Segment(f" {glyphs.vertical}", border)
    for line in code:
        pad = Segment(" " * (width - 4 - cells(line)), styles.fence)
        lines.append([left, *line, pad, right])
    if closed:
        rule = glyphs.horizontal * (width - 2)
        lines.append([Segment(f"{glyphs.bottom_left}{rule}{glyphs.bottom_right}", border)])
    return lines


class _Layout:
    """Walks the syntax tree of one block."""

    def __init__(self, styles: TextStyles, *, first_number: int = -1, depth: int = 0) -> None:
        self._styles = styles
        self._first_number = first_number
        self._depth = depth  # of lists

    def blocks(self, nodes: Sequence[SyntaxTreeNode], width: int, *, gaps: bool) -> list[Line]:
        """Siblings below each other, with an empty line between them when `gaps`."""
        lines: list[Line] = []
        for at, node in enumerate(nodes):
            if at and (gaps or node.type in ("fence", "code_block", "table")):
                lines.append([])
            lines += self._block(node, max(width, 1))
        return lines

    def _block(self, node: SyntaxTreeNode, width: int) -> list[Line]:
        styles = self._styles
        match node.type:
            case "heading":
                return wrap(self._inline(node, styles.heading), width)
            case "bullet_list" | "ordered_list":
                return self._list(node, width)
            case "blockquote":
                return self._quote(node, width)
            case "fence" | "code_block":
                code = node.content.removesuffix("\n")
                return lay_out_fence(Block(BlockKind.FENCE, code, info=node.info), width, styles)
            case "table":
                return self._table(node, width)
            case "hr":
                return [[Segment(styles.glyphs.horizontal * width, styles.muted)]]
            case _:  # paragraph, and whatever has text
                spans = self._inline(node, styles.text) if node.children else [(node.content, styles.text)]
                return wrap(spans, width)

    def _list(self, node: SyntaxTreeNode, width: int) -> list[Line]:
        ordered = node.type == "ordered_list"
        number = int(node.attrs.get("start", 1)) if ordered else -1
        if ordered and self._first_number >= 0:
            number, self._first_number = self._first_number, -1
        inner = _Layout(self._styles, depth=self._depth + 1)
        bullets = self._styles.glyphs.bullets
        lines: list[Line] = []
        for at, item in enumerate(node.children):
            loose = any(child.type == "paragraph" and not child.hidden for child in item.children)
            if at and loose:
                lines.append([])
            mark = f"{number + at}. " if ordered else f"{bullets[self._depth % len(bullets)]} "
            if width < len(mark) + WIDEST_CHARACTER:
                lines.append([Segment(fit(mark.rstrip(), width), self._styles.muted)])
                lines += inner.blocks(item.children, width, gaps=loose)
            else:
                lines += self._marked(mark, inner.blocks(item.children, width - len(mark), gaps=loose))
        return lines

    def _marked(self, mark: str, body: list[Line]) -> list[Line]:
        styles = self._styles
        lines: list[Line] = []
        for line in body or [[]]:
            if lines:
                lines.append([Segment(" " * len(mark), styles.text), *line] if line else [])
            else:
                lines.append([Segment(mark, styles.muted), *line])
        return lines

    def _quote(self, node: SyntaxTreeNode, width: int) -> list[Line]:
        styles = self._styles
        inner = _Layout(styles.on(styles.quote), depth=self._depth)
        if width < 2 + WIDEST_CHARACTER:
            return inner.blocks(node.children, width, gaps=True)
        body = inner.blocks(node.children, width - 2, gaps=True)
        return [[Segment(f"{styles.glyphs.quote} ", styles.muted), *line] for line in body]

    def _table(self, node: SyntaxTreeNode, width: int) -> list[Line]:
        rows: list[list[list[Span]]] = []
        aligns: list[str] = []
        for section in node.children:
            for row in section.children:
                if not rows:
                    aligns = [
                        str(cell.attrs.get("style", "")).removeprefix("text-align:") for cell in row.children
                    ]
                style = self._styles.strong if not rows else self._styles.text
                rows.append([self._inline(cell, self._styles.text + style) for cell in row.children])
        return lay_out_table(rows, aligns, width, self._styles)

    def _inline(self, node: SyntaxTreeNode, base: Style) -> list[Span]:
        spans: list[Span] = []
        for child in node.children:
            self._span(child, base, spans)
        return spans

    def _span(self, node: SyntaxTreeNode, base: Style, out: list[Span]) -> None:
        styles = self._styles
        match node.type:
            case "text" | "text_special":
                out.append((node.content, base))
            case "softbreak" | "hardbreak":
                out.append(("\n", base))
            case "code_inline":
                out.append((node.content, styles.code))
            case "strong" | "em" | "s":
                added = {"strong": styles.strong, "em": styles.emphasis, "s": styles.strike}[node.type]
                for child in node.children:
                    self._span(child, base + added, out)
            case "link":
                self._link(node, out)
            case "image":
                out.append((f"[image: {node.content}]", styles.muted))
                out.append((f" <{node.attrs.get('src', '')}>", styles.muted))
            case "inline":
                for child in node.children:
                    self._span(child, base, out)
            case _:
                out.append((node.content, base))

    def _link(self, node: SyntaxTreeNode, out: list[Span]) -> None:
        target = str(node.attrs.get("href", ""))
        shown: list[Span] = []
        for child in node.children:
            self._span(child, self._styles.link, shown)
        out += shown
        if target and "".join(text for text, _ in shown) not in (target, target.removeprefix("mailto:")):
            out.append((f" <{target}>", self._styles.muted))
