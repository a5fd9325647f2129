"""A fixed Markdown answer at a set pace.

A question that holds RATExCOUNT, "100x1000", is answered with COUNT tokens at RATE a second; one that also
holds "code" with a single long fence. Without it the answer is 100 tokens long.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

TICK_S = 0.01
PROSE = """## Section {n}: how a stream arrives

A terminal client receives small pieces of text, joins them, and must paint them without losing the place.
The **bold part** and the *slanted part* and some `inline code` keep the parser busy.

```python
def stream_{n}(tokens, width=80):
    # wrap each piece at the width of the pane
    return {{"left": "", "count": 42}}
```

- first item of list {n}, short
- second item, which is a good deal longer and will need to wrap on a narrow screen because it goes on and on

| Name {n} | Bytes/s | Note |
|:-----|--------:|------|
| alpha | 1024 | steady |
| beta | 22000 | bursts of text |

Plain text again, so that the paragraph has something to align with, and é ü ñ 日本語 to be wide.

"""
CODE = "    value_{n} = compute({n}, width=80)  # one line of a long fence\n"


class Pace(NamedTuple):
    """What an answer is like."""

    tokens_per_s: int = 100
    n_tokens: int = 100
    code: bool = False


def pace_of(prompt: str) -> Pace:
    """What the last RATExCOUNT of a prompt asks for."""
    found = re.findall(r"(\d+)x(\d+)([^\n]*)", prompt)
    if not found:
        return Pace()
    rate, count, rest = found[-1]
    return Pace(int(rate), int(count), "code" in rest)


def pieces(code: bool) -> Iterator[str]:
    """An endless stream of pieces as long as tokens are."""
    if code:
        yield "```python\ndef long():\n"
    n = 0
    while True:
        n += 1
        yield from re.findall(r"[ \t]*\S{1,5}|\n+|[ \t]+", (CODE if code else PROSE).format(n=n))


async def paced(pace: Pace) -> AsyncIterator[list[str]]:
    """The tokens of an answer; those that are due together come together."""
    source, begun, sent = pieces(pace.code), time.monotonic(), 0
    while sent < pace.n_tokens:
        await asyncio.sleep(TICK_S)
        due = min(int((time.monotonic() - begun) * pace.tokens_per_s), pace.n_tokens)
        if due > sent:
            yield [next(source) for _ in range(due - sent)]
            sent = due
