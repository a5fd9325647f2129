"""The prompt under a pilot."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from textual.app import App, ComposeResult, SuspendNotSupported
from textual.pilot import Pilot

from olla_tui.widgets.composer import MAX_ROWS, Composer


class ComposerApp(App[None]):
    """Holds a prompt and remembers what it posts; its terminal can be handed to an editor."""

    def __init__(self, composer: Composer, *, can_suspend: bool = True) -> None:
        super().__init__()
        self.composer = composer
        self.can_suspend = can_suspend
        self.sent: list[str] = []
        self.failed: list[str] = []
        self.refused: list[tuple[str, bool]] = []

    def compose(self) -> ComposeResult:
        yield self.composer

    @contextmanager
    def suspend(self) -> Iterator[None]:
        if not self.can_suspend:
            raise SuspendNotSupported
        yield

    def on_composer_prompt_submitted(self, event: Composer.PromptSubmitted) -> None:
        self.sent.append(event.text)

    def on_composer_refused(self, event: Composer.Refused) -> None:
        self.refused.append((event.reason, event.is_empty))

    def on_composer_editor_failed(self, event: Composer.EditorFailed) -> None:
        self.failed.append(event.reason)


@asynccontextmanager
async def written(
    composer: Composer | None = None, *, can_suspend: bool = True
) -> AsyncGenerator[tuple[ComposerApp, Composer, Pilot[None]], None]:
    app = ComposerApp(composer or Composer(), can_suspend=can_suspend)
    async with app.run_test(size=(30, 20)) as pilot:
        app.composer.focus()
        await pilot.pause()
        yield app, app.composer, pilot


async def test_enter_sends_and_empties() -> None:
    async with written() as (app, composer, pilot):
        await pilot.press(*"hi", "space", "enter")
        assert app.sent == ["hi"]
        assert composer.text == ""
        await pilot.press("enter", "space", "enter")
        assert app.sent == ["hi"]


async def test_three_keys_start_a_new_line() -> None:
    async with written() as (app, composer, pilot):
        await pilot.press("a", "ctrl+j", "b", "shift+enter", "c", "alt+enter", "d")
        assert composer.text == "a\nb\nc\nd"
        await pilot.press("enter")
        assert app.sent == ["a\nb\nc\nd"]


async def test_a_command_key_that_nobody_takes_writes_nothing() -> None:
    async with written() as (_, composer, pilot):
        await pilot.press("alt+g", "alt+shift+g", "é", "A")
        assert composer.text == "éA"


async def test_it_grows_with_its_text_and_its_wrapping_up_to_a_bound() -> None:
    async with written() as (_, composer, pilot):
        assert composer.size.height == 1
        composer.text = "word " * 20
        await pilot.pause()
        wrapped = composer.size.height
        assert 3 <= wrapped <= 5
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert composer.size.height < wrapped
        composer.text = "\n" * 40
        await pilot.pause()
        assert composer.size.height == MAX_ROWS
        composer.text = ""
        await pilot.pause()
        assert composer.size.height == 1


async def test_up_and_down_walk_the_history_only_at_the_edges() -> None:
    async with written(Composer(history=["one", "two\nlines"])) as (_, composer, pilot):
        await pilot.press("d", "up")
        assert composer.text == "two\nlines"
        await pilot.press("up")
        assert composer.text == "two\nlines"
        await pilot.press("up")
        assert composer.text == "one"
        await pilot.press("down")
        assert composer.text == "two\nlines"
        await pilot.press("down")
        assert composer.text == "d"


async def test_a_blocked_prompt_takes_text_says_why_it_stays_and_sends_it_later() -> None:
    async with written() as (app, composer, pilot):
        composer.block("no [model] yet")
        await pilot.press("enter", "k", "enter")
        assert composer.text == "k"
        assert str(composer.placeholder) == "no [model] yet"
        assert app.refused == [("no [model] yet", True), ("no [model] yet", False)]
        composer.allow("Ask")
        assert str(composer.placeholder) == "Ask"
        await pilot.press("enter")
        assert app.sent == ["k"]


async def test_a_text_that_is_put_over_another_one_leaves_it_in_the_history() -> None:
    async with written() as (_, composer, pilot):
        await pilot.press("m", "e")
        composer.put("example")
        assert composer.text == "example"
        await pilot.press("up")
        assert composer.text == "me"


def editor(added: str, *, status: int = 0, seen: list[Sequence[str]] | None = None) -> Composer:
    def run(command: Sequence[str]) -> int:
        path = Path(command[-1])
        path.write_text(path.read_text(encoding="utf-8") + added, encoding="utf-8")
        if seen is not None:
            seen.append(command)
        return status

    return Composer(editor="ed --wait", run=run)


async def test_the_editor_gets_the_text_and_gives_it_back() -> None:
    seen: list[Sequence[str]] = []
    async with written(editor(" more\x1b[2J\n", seen=seen)) as (app, composer, pilot):
        composer.text = "some"
        await pilot.press("ctrl+e")
        assert composer.text == "some more"
        assert app.failed == []
        assert list(seen[0][:-1]) == ["ed", "--wait"]
        assert not os.path.exists(seen[0][-1])  # noqa: ASYNC240 - nothing else runs on this loop


async def test_an_editor_that_fails_changes_nothing() -> None:
    async with written(editor("x", status=3)) as (app, composer, pilot):
        composer.text = "some"
        await pilot.press("ctrl+e")
        assert composer.text == "some"
        assert app.failed == ["ed ended with status 3; nothing was changed."]


async def test_an_editor_that_is_not_there_is_told() -> None:
    for command in ("no-such-editor-anywhere", 'unclosed "quote', "   "):
        async with written(Composer(editor=command)) as (app, _, pilot):
            await pilot.press("ctrl+e")
            await pilot.pause()
            assert len(app.failed) == 1


async def test_a_terminal_that_cannot_be_handed_over_is_told() -> None:
    async with written(editor("x"), can_suspend=False) as (app, _, pilot):
        await pilot.press("ctrl+e")
        await pilot.pause()
        assert app.failed == ["This terminal cannot be handed to an editor."]
