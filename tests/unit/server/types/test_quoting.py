"""Go's quoting of texts."""

from __future__ import annotations

import pytest

from server.types.quoting import go_quote


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ("<|im_end|>", '"<|im_end|>"'),
        ('say "hi"\\', r'"say \"hi\"\\"'),
        ("a\nb\tc\r\a\b\f\v", r'"a\nb\tc\r\a\b\f\v"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'),
        ("é 世界 🦙", '"é 世界 🦙"'),
        ("\u00a0\u200d\ufeff", r'"\u00a0\u200d\ufeff"'),
        ("\U000e0001", r'"\U000e0001"'),
    ],
)
def test_quotes_as_go(text: str, quoted: str) -> None:
    assert go_quote(text) == quoted
