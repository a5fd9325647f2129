"""A text that grows, and its lines for one width: what is finished is laid out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from olla_tui.text.blocks import Block, BlockKind, BlockSplitter
from olla_tui.text.clean import Cleaner
from olla_tui.text.fence import FenceLines
from olla_tui.text.markdown import copy_text, fence_memory, lay_out, lay_out_fence
from olla_tui.text.styles import TextStyles
from olla_tui.text.wrap import Line


@dataclass(frozen=True, slots=True)
class BlockSpan:
    """A block's place in the lines of a turn.

    Attributes:
        start, end: its lines, from start up to before end.
        copied: what copying it gives.
        what: "block", "code" or "reasoning".
    """

    start: int
    end: int
    copied: str
    what: str

    def moved(self, n_lines: int) -> BlockSpan:
        """The span, further down."""
        return BlockSpan(self.start + n_lines, self.end + n_lines, self.copied, self.what)


class TextFlow:
    """Markdown that arrives in pieces.

    Attributes:
        version: counts the changes.
    """

    def __init__(self, source: str = "", *, ended: bool = True) -> None:
        self.version = 0
        self._pieces = [source] if source else []
        self._cleaner = Cleaner()
        self._splitter: BlockSplitter | None = None
        self._ended = ended
        if not ended:
            self._split_now()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def source(self) -> str:
        """All text so far, as it came."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def feed(self, text: str) -> None:
        """Add a piece."""
        if text:
            self._pieces.append(text)
            self._split_now().feed(self._cleaner.feed(text))
            self.version += 1

    def end(self) -> None:
        """Nothing more comes."""
        if not self._ended:
            self._ended = True
            splitter = self._split_now()
            splitter.feed(self._cleaner.finish())
            splitter.finish()
            self.version += 1

    def blocks(self) -> tuple[Sequence[Block], Sequence[Block]]:
        """The blocks that stay as they are, and the ones at the end that may change."""
        splitter = self._split_now()
        return splitter.closed, () if self._ended else splitter.tail()

    def forget_blocks(self) -> None:
        """Free the memory of the blocks of an ended text; they are made again when they are wanted."""
        if self._ended:
            self._splitter = None

    def _split_now(self) -> BlockSplitter:
        if self._splitter is None:
            self._splitter = BlockSplitter()
            self._cleaner = Cleaner()
            self._splitter.feed(self._cleaner.feed(self.source))
            if self._ended:
                self._splitter.feed(self._cleaner.finish())
                self._splitter.finish()
        return self._splitter


class FlowLayout:
    """The lines of a flow for one width and one set of styles.

    Attributes:
        lines: all of them; a blank one is empty.
        spans: the blocks' places.
    """

    def __init__(self, flow: TextFlow, width: int, styles: TextStyles) -> None:
        self._flow = flow
        self._width = width
        self._styles = styles
        self._version = -1
        self._n_closed = 0
        self._closed_lines: list[Line] = []
        self._closed_spans: list[BlockSpan] = []
        self._after_fence = False
        self._growing: FenceLines | None = None
        self._growing_info = ""
        self.lines: list[Line] = []
        self.spans: list[BlockSpan] = []
        self.update()

    def update(self) -> None:
        """Catch up with the flow; costs what its open block costs, however long the rest is."""
        if self._version == self._flow.version:
            return
        self._version = self._flow.version
        closed, tail = self._flow.blocks()
        if self._n_closed < len(closed):
            for block in closed[self._n_closed :]:
                self._add(block, self._closed_lines, self._closed_spans)
            self._n_closed = len(closed)
        lines, spans, after_fence = self._closed_lines.copy(), self._closed_spans.copy(), self._after_fence
        for block in tail:
            self._add(block, lines, spans, growing=block is tail[-1])
        self._after_fence = after_fence
        self.lines, self.spans = lines, spans

    def _add(self, block: Block, lines: list[Line], spans: list[BlockSpan], *, growing: bool = False) -> None:
        is_fence = block.kind is BlockKind.FENCE
        if is_fence:
            drawn = lay_out_fence(block, self._width, self._styles, self._memory(block))
        else:
            drawn = lay_out(block, self._width, self._styles)
        if not growing:
            self._growing = None
        if lines and (block.gap or is_fence or self._after_fence):
            lines.append([])
        self._after_fence = is_fence
        start = len(lines)
        lines += drawn
        what = "code" if is_fence else "block"
        spans.append(BlockSpan(start, len(lines), copy_text(block), what))

    def _memory(self, block: Block) -> FenceLines:
        """The memory of the fence that grows; the block that closes it is the next one that comes here."""
        if self._growing is None or self._growing_info != block.info:
            self._growing = fence_memory(block, self._width, self._styles)
            self._growing_info = block.info
        return self._growing
