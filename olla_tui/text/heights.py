"""How many lines each of many turns takes: fast sums and searches, and estimates for the unseen."""

from __future__ import annotations

from collections.abc import Iterable


class HeightIndex:
    """Heights in order, with the line at which each begins (a Fenwick tree)."""

    def __init__(self, heights: Iterable[int] = ()) -> None:
        self._heights = list(heights)
        self._tree = self._heights.copy()
        for at in range(len(self._tree)):
            parent = at | (at + 1)
            if parent < len(self._tree):
                self._tree[parent] += self._tree[at]

    def __len__(self) -> int:
        return len(self._heights)

    def __getitem__(self, index: int) -> int:
        return self._heights[index]

    @property
    def total(self) -> int:
        """Sum of all heights."""
        return self.top(len(self._heights))

    def append(self, height: int) -> None:
        """Add one at the end."""
        at = len(self._heights)
        value, child, low = height, at - 1, at & (at + 1)
        while child >= low:  # the ranges that this node covers
            value += self._tree[child]
            child = (child & (child + 1)) - 1
        self._heights.append(height)
        self._tree.append(value)

    def set(self, index: int, height: int) -> None:
        """Change one."""
        delta = height - self._heights[index]
        if not delta:
            return
        self._heights[index] = height
        while index < len(self._tree):
            self._tree[index] += delta
            index |= index + 1

    def truncate(self, length: int) -> None:
        """Keep the first `length`."""
        del self._heights[length:]
        del self._tree[length:]

    def top(self, index: int) -> int:
        """Sum of the heights before `index`: the line at which it begins."""
        total, at = 0, index - 1
        while at >= 0:
            total += self._tree[at]
            at = (at & (at + 1)) - 1
        return total

    def find(self, line: int) -> tuple[int, int]:
        """The index that holds a line, and the line's place in it; past either end it is the first or last.

        Raises: IndexError when there are none.
        """
        if not self._heights:
            raise IndexError("no heights")
        line = max(line, 0)
        at, left = 0, line
        step = 1 << (len(self._tree).bit_length() - 1)
        while step:
            following = at + step
            if following <= len(self._tree) and self._tree[following - 1] <= left:
                at, left = following, left - self._tree[following - 1]
            step >>= 1
        if at >= len(self._heights):
            last = len(self._heights) - 1
            return last, max(self._heights[last] - 1, 0)
        return at, left


def estimate_lines(text: str, width: int) -> int:
    """About how many lines a Markdown text takes at a width; cheap, for turns that nobody has seen yet."""
    if not text:
        return 0
    width = max(width, 1)
    if not text.isascii():  # a character of three bytes is most likely two cells wide
        n_bytes = len(text.encode("utf-8", "replace"))
        width = max(width * len(text) // (len(text) + (n_bytes - len(text)) // 2), 1)
    return sum(1 + (len(line) - 1) // width if line else 1 for line in text.split("\n"))
