"""Where a long text is cut before llama.cpp makes tokens of it. Pure.

llama.cpp splits a text for a byte-pair vocabulary with the regular expressions of the model. For many models
it runs them with std::regex, which goes one call deeper for each character of a match: some 26,000 characters
in a row, of one word or of white space, overflow a stack of 8 MiB and end the process.

No match is longer than white space, what follows it up to the next white space, and line feeds behind that.
So a text whose runs are all short is left as it is, and its tokens are those of the whole text.
"""

from __future__ import annotations

import re
from typing import Final

MAX_RUN: Final = 4096
"""Characters without white space, or of white space, that stay together."""

_LOOK_BACK: Final = 1024
"""Characters before a cut in which a place is looked for that no match reaches over."""

_RUN: Final = re.compile(r"\S+|\s+")
_PLACE: Final = re.compile(r'(?<=[A-Za-z0-9])(?=[,;({\["<=+])')
"""Before punctuation behind a letter or digit: words end there in all of the expressions. Characters that are
part of the names of control tokens are left out."""


def text_parts(text: str) -> list[str]:
    """The text in parts that are safe to split; one part for almost every text."""
    if len(text) <= MAX_RUN:
        return [text]
    cuts = [0]
    for run in _RUN.finditer(text):
        start, end = run.span()
        while end - start > MAX_RUN:
            start = _place_before(text, start + MAX_RUN)
            cuts.append(start)
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _place_before(text: str, limit: int) -> int:
    places = [match.start() for match in _PLACE.finditer(text, limit - _LOOK_BACK, limit)]
    return places[-1] if places else limit
