"""A bare application around a transcript, and conversations to fill it with."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.message import Message

from olla_tui.theme import default_variables
from olla_tui.theme_files import builtin_themes
from olla_tui.widgets.transcript import Transcript, TurnView
from server.types.messages import ToolCall

ANSWER = """\
The cache grows **linearly** with the context, see `n_ctx` and [the notes](http://a.example/kv).

| ctx | f16 | q8_0 |
|----:|:---:|------|
| 8k | 1.3 G | 0.7 G |
| 32k | 5.2 G | 2.7 G |

1. keys
2. values
   - per head

```python
def size(n_ctx: int) -> int:
    \"\"\"Bytes.\"\"\"
    return 2 * n_ctx  # keys and values
```

> Quantised caches need *flash attention*.
"""


class TranscriptApp(App[None]):
    """Holds one transcript and remembers what it posts."""

    def __init__(self, *, theme: str = "olla-dark") -> None:
        super().__init__()
        for found in builtin_themes():
            self.register_theme(found.to_textual())
        self.theme = theme
        self.posted: list[Message] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return default_variables()

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_mount(self) -> None:
        self.transcript.focus()

    @property
    def transcript(self) -> Transcript:
        """The transcript."""
        return self.query_one(Transcript)

    def on_transcript_copy_requested(self, event: Transcript.CopyRequested) -> None:
        self.posted.append(event)

    def on_transcript_view_follow_changed(self, event: Transcript.FollowChanged) -> None:
        self.posted.append(event)

    def on_transcript_cursor_moved(self, event: Transcript.CursorMoved) -> None:
        self.posted.append(event)

    def copied(self) -> list[tuple[str, str]]:
        """All (what, text) that were to be copied."""
        return [
            (event.what, event.text) for event in self.posted if isinstance(event, Transcript.CopyRequested)
        ]

    def rows(self) -> list[str]:
        """What the terminal shows, without trailing white space."""
        strips = self.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip("▁▂▃▄▅▆▇█ ") for strip in strips]


def short_chat() -> list[TurnView]:
    """One question and one answer with everything in it."""
    return [
        TurnView(role="user", title="you", content="Why is my KV cache [so] large?", stats="14:02"),
        TurnView(
            role="assistant",
            title="qwen3:14b",
            content=ANSWER,
            thinking="Think about *heads*.\n\nAnd layers.",
            thinking_note="thought for 6.1 s (214 tok)",
            stats="412 tok · 41.3/s · first 0.38 s",
            tool_calls=(ToolCall("get_weather", {"city": "Köln", "days": 2}),),
            error="The context is full.",
        ),
    ]


def long_chat(n_turns: int) -> list[TurnView]:
    """Numbered questions and answers in turn."""
    return [
        TurnView(role="user", title="you", content=f"Question {at}?")
        if at % 2 == 0
        else TurnView(role="assistant", title="m", content=f"Answer {at}.\n\n{ANSWER}", thinking="hm")
        for at in range(n_turns)
    ]
