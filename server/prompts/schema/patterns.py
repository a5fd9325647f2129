"""Regular expressions as GBNF over the inside of a JSON string.

The subset that schemas use: alternatives, groups, classes, the usual escapes and quantifiers. What a grammar
cannot say, looking around and back references, is refused.
"""

from __future__ import annotations

from typing import NamedTuple

from server.prompts.schema.gbnf import char_code, literal, repeat

_MAX_DEPTH = 40
_MAX_COUNT = 10_000
_QUANTIFIERS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
Ranges = tuple[tuple[int, int], ...]
_CLASSES: dict[str, Ranges] = {
    "d": ((0x30, 0x39),),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "s": ((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x2028, 0x2029), (0xFEFF, 0xFEFF)),
}
_LAST = 0x10FFFF
_SHORT_ESCAPES = {0x08: "b", 0x09: "t", 0x0A: "n", 0x0C: "f", 0x0D: "r", 0x22: '"', 0x5C: "\\"}
_NOT_PLAIN: Ranges = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF))
"""What JSON text does not hold unescaped, and DEL."""


class UnsupportedPattern(ValueError):
    """A pattern that no grammar of ours says."""


class Piece(NamedTuple):
    """GBNF of a part, and how many characters it matches: `most` None without bound."""

    gbnf: str
    least: int
    most: int | None


def pattern_piece(pattern: str) -> Piece:
    """GBNF for the texts in which the pattern is found. Raises UnsupportedPattern."""
    return _Pattern(pattern).parse()


class _Pattern:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._body_end = len(pattern)
        self._depth = 0

    def parse(self) -> Piece:
        """The whole pattern; where it is not anchored, anything may stand."""
        from_start = self._take("^")
        to_end = self._pattern.endswith("$") and not _is_escaped(self._pattern, len(self._pattern) - 1)
        if to_end:
            self._body_end -= 1
        piece = self._alternatives()
        if self._at < self._body_end:
            raise UnsupportedPattern(f"unexpected {self._pattern[self._at]!r}")
        if (from_start or to_end) and _has_top_alternatives(self._pattern):
            raise UnsupportedPattern("an anchor in only one of several alternatives; put them in a group")
        anything = Piece(_any_text(), 0, None)
        parts = ([] if from_start else [anything]) + [piece] + ([] if to_end else [anything])
        return _sequence(parts)

    def _take(self, text: str) -> bool:
        found = self._pattern.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _peek(self) -> str:
        return self._pattern[self._at] if self._at < self._body_end else ""

    def _alternatives(self) -> Piece:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnsupportedPattern("groups nested too deeply")
        branches = [self._branch()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._branch())
        self._depth -= 1
        if len(branches) == 1:
            return branches[0]
        most = None if any(b.most is None for b in branches) else max(b.most or 0 for b in branches)
        gbnf = "(" + " | ".join(branch.gbnf or '""' for branch in branches) + ")"
        return Piece(gbnf, min(branch.least for branch in branches), most)

    def _branch(self) -> Piece:
        parts: list[Piece] = []
        while (char := self._peek()) and char not in "|)":
            parts.append(self._quantified(self._atom(char)))
        return _sequence(parts)

    def _atom(self, char: str) -> Piece:
        if char == "(":
            return self._group()
        if char == "[":
            return _one_of(self._class())
        if char in "*+?{":
            raise UnsupportedPattern(f"nothing to repeat before {char!r}")
        if char in "^$":
            raise UnsupportedPattern(f"an anchor {char!r} inside")
        self._at += 1
        if char == ".":
            return _one_of(_complement(((0x0A, 0x0A), (0x0D, 0x0D))))
        if char == "\\":
            return _one_of(self._escape())
        return _one_of(((ord(char), ord(char)),))

    def _group(self) -> Piece:
        self._at += 1
        if self._take("?"):
            if self._take("P<") or (self._pattern.startswith("<", self._at) and self._at_name()):
                end = self._pattern.find(">", self._at)
                if end < 0:
                    raise UnsupportedPattern("a group name that never ends")
                self._at = end + 1
            elif not self._take(":"):
                raise UnsupportedPattern("looking around or flags")
        inner = self._alternatives()
        if self._peek() != ")":
            raise UnsupportedPattern("a group that never ends")
        self._at += 1
        return Piece(f"({inner.gbnf})" if inner.gbnf else '""', inner.least, inner.most)

    def _at_name(self) -> bool:
        return self._pattern[self._at + 1 : self._at + 2] not in ("=", "!")

    def _quantified(self, piece: Piece) -> Piece:
        char = self._peek()
        if char in _QUANTIFIERS:
            self._at += 1
            least, most = _QUANTIFIERS[char]
        elif char == "{":
            least, most = self._counts()
        else:
            return piece
        if self._peek() in ("?", "+"):  # lazy and possessive match the same texts here
            self._at += 1
        item = piece.gbnf if _is_single(piece.gbnf) else f"({piece.gbnf})"
        total = None if most is None or piece.most is None else most * piece.most
        return Piece(repeat(item, least, most), least * piece.least, total)

    def _counts(self) -> tuple[int, int | None]:
        end = self._pattern.find("}", self._at)
        first, comma, second = self._pattern[self._at + 1 : max(end, self._at)].partition(",")
        if end < 0 or not first.isdecimal() or not (second == "" or second.isdecimal()):
            raise UnsupportedPattern("a count that is no number")
        least = int(first)
        most = int(second) if second else None if comma else least
        if max(least, most or 0) > _MAX_COUNT or (most is not None and most < least):
            raise UnsupportedPattern(f"a count beyond {_MAX_COUNT} or out of order")
        self._at = end + 1
        return least, most

    def _escape(self) -> Ranges:
        """What the escape behind a backslash stands for."""
        char = self._pattern[self._at : self._at + 1]
        self._at += 1
        if char.lower() in _CLASSES and char:
            ranges = _CLASSES[char.lower()]
            return ranges if char.islower() else _complement(ranges)
        if char in ("x", "u"):
            n_digits = 2 if char == "x" else 4
            digits = self._pattern[self._at : self._at + n_digits]
            if len(digits) != n_digits or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise UnsupportedPattern(f"a bad escape \\{char}")
            self._at += n_digits
            return ((int(digits, 16), int(digits, 16)),)
        if char in _ESCAPED:
            return ((ord(_ESCAPED[char]), ord(_ESCAPED[char])),)
        if not char or char.isalnum():
            raise UnsupportedPattern(f"the escape \\{char}")
        return ((ord(char), ord(char)),)

    def _class(self) -> Ranges:
        self._at += 1
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while (char := self._peek()) != "]" or first:
            if not char:
                raise UnsupportedPattern("a class that never ends")
            first = False
            low = self._class_member()
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_member()
                if len(low) != 1 or low[0][0] != low[0][1] or len(high) != 1 or high[0][1] < low[0][0]:
                    raise UnsupportedPattern("a range out of order")
                ranges.append((low[0][0], high[0][1]))
            else:
                ranges.extend(low)
        self._at += 1
        return _complement(tuple(ranges)) if negated else tuple(ranges)

    def _class_member(self) -> Ranges:
        char = self._peek()
        self._at += 1
        if char != "\\":
            return ((ord(char), ord(char)),)
        if self._peek() == "b":
            self._at += 1
            return ((0x08, 0x08),)
        return self._escape()


def _is_escaped(text: str, at: int) -> bool:
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _has_top_alternatives(pattern: str) -> bool:
    depth, in_class = 0, False
    for at, char in enumerate(pattern):
        if _is_escaped(pattern, at):
            continue
        if in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and not depth:
            return True
    return False


def _complement(ranges: Ranges) -> Ranges:
    gaps: list[tuple[int, int]] = []
    next_free = 0
    for low, high in sorted(ranges):
        if low > next_free:
            gaps.append((next_free, low - 1))
        next_free = max(next_free, high + 1)
    if next_free <= _LAST:
        gaps.append((next_free, _LAST))
    return tuple(gaps)


def _any_text() -> str:
    return repeat(_one_of(((0, _LAST),)).gbnf, 0, None)


def _one_of(ranges: Ranges) -> Piece:
    """One character of the ranges, as a JSON string writes it."""
    plain = [part for low, high in ranges for part in _without(low, high, _NOT_PLAIN)]
    escapes = [
        escape for code, escape in _SHORT_ESCAPES.items() if any(low <= code <= high for low, high in ranges)
    ]
    choices: list[str] = []
    if plain:
        choices.append("[" + "".join(_range_text(low, high) for low, high in plain) + "]")
    if escapes:
        choices.append('"\\\\" [' + "".join(char_code(escape) for escape in escapes) + "]")
    if not choices:
        raise UnsupportedPattern("a class of characters that JSON text cannot hold")
    if len(choices) == 1 and plain:
        if len(plain) == 1 and plain[0][0] == plain[0][1]:
            return Piece(literal(chr(plain[0][0])), 1, 1)
        return Piece(choices[0], 1, 1)
    return Piece("(" + " | ".join(choices) + ")", 1, 1)


def _without(low: int, high: int, holes: Ranges) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for hole_low, hole_high in holes:
        if low < hole_low:
            kept.append((low, min(high, hole_low - 1)))
        low = max(low, hole_high + 1)
        if low > high:
            return [(a, b) for a, b in kept if a <= b]
    return [*((a, b) for a, b in kept if a <= b), (low, high)]


def _range_text(low: int, high: int) -> str:
    if low == high:
        return char_code(chr(low))
    return f"{char_code(chr(low))}-{char_code(chr(high))}"


def _sequence(parts: list[Piece]) -> Piece:
    most = None if any(part.most is None for part in parts) else sum(part.most or 0 for part in parts)
    return Piece(" ".join(part.gbnf for part in parts if part.gbnf), sum(part.least for part in parts), most)


def _is_single(gbnf: str) -> bool:
    """Whether a quantifier behind the text takes all of it: one group, one class, or one literal."""
    if gbnf.startswith("(") and gbnf.endswith(")"):
        return _closes_at_end(gbnf)
    if gbnf.startswith("[") and gbnf.count("[") == 1:
        return gbnf.endswith("]")
    return gbnf.startswith('"') and gbnf.count('"') == 2


def _closes_at_end(gbnf: str) -> bool:
    depth, quoted, in_class, at = 0, False, False, 0
    while at < len(gbnf):
        char = gbnf[at]
        if char == "\\":
            at += 1
        elif quoted:
            quoted = char != '"'
        elif in_class:
            in_class = char != "]"
        elif char == '"':
            quoted = True
        elif char == "[":
            in_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
            if not depth and at < len(gbnf) - 1:
                return False
        at += 1
    return True
