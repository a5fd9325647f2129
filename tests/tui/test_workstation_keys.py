"""Every key does what the registry says, where it says so."""

import asyncio

import pytest
from textual import events

from olla_tui.actions import ACTIONS, PANES
from olla_tui.state.drafts import Draft
from olla_tui.theme_files import BUILTIN
from tests.support.workstation import (
    TestSettings,
    driven,
    focus_of,
    screen_text,
    settled,
    wait_until,
    workstation,
)
from tests.support.workstation_script import Script, bench_entry, busy_script, empty_script


def panes_of(action):
    if action.place in ("", "chat"):
        return "chat"
    return "models" if action.place == "list" else action.place


PLACES = ["", "list", *dict(PANES)]


async def have_something_to_do(pilot, action):
    """What the keys of some panes work on comes a moment after the pane."""
    app = pilot.app
    if action.call.startswith("scroll("):
        app.main.pane(action.place).add_class("-detail")
        await settled(pilot)
    if action.place == "gpus":
        await wait_until(pilot, lambda: app.state.history is not None)
    if action.place == "bench":
        pane = app.main.pane("bench")
        await wait_until(pilot, lambda: pane._entries is not None)
        pane._entries = [bench_entry()]
        pane._measuring = asyncio.get_running_loop().create_future() if action.id == "bench.stop" else None
        pane.refresh_from(frozenset())


@pytest.mark.parametrize("place", PLACES)
async def test_every_binding_runs_its_action(place, monkeypatch):
    """Each key is pressed where it works; what it starts is written down in the place of being done."""
    actions = [action for action in ACTIONS if action.place == place and action.keys]
    script = busy_script()
    script.bundled = empty_script().bundled
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        chat = app.desk.current
        chat.ask("Why?", 0)
        chat.begin_answer(0)
        chat.enqueue(Draft("And then?"))
        started: list[str] = []
        for action in actions:
            if action.id != "chat.stop":
                chat.end_with(None, 0)
            elif not chat.is_answering:
                chat.begin_answer(0)
            await app.main.show_pane(panes_of(action))
            await have_something_to_do(pilot, action)
            (await app.main.have_pane("models")).table.go_to("qwen3:14b-q4_K_M")
            await pilot.pause()
            target = app.main.place_of(action)
            space, _, call = action.call.partition("(")[0].rpartition(".")
            target = {"app": app, "screen": app.main, "": target}[space]
            monkeypatch.setattr(
                type(target), f"action_{call}", lambda self, *_, name=action.id: started.append(name)
            )
            for key in action.keys.split(","):
                started.clear()
                await pilot.press(key)
                await pilot.pause()
                assert started, f"{key} did not start {action.id}"
            monkeypatch.undo()


async def test_panes_by_number_and_back():
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        for number, (name, _) in enumerate(PANES, start=1):
            await pilot.press(f"f{number + 1}" if number < 8 else f"alt+{number}")
            assert app.main.active == name
        await pilot.press("alt+2", "alt+5", "minus")
        assert app.main.active == "models"
        await pilot.press("escape")
        assert app.main.active == "chat"


async def test_plain_keys_go_to_the_prompt_while_one_writes():
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        assert focus_of(app) == "composer"
        await pilot.press("q", "question_mark", "x")
        assert app.main.chat_pane.composer.text == "q?x"
        assert app.screen is app.main


async def test_tabs_and_hints_can_be_clicked():
    app = workstation(busy_script())
    async with driven(app, (120, 40)) as pilot:
        tabs = screen_text(app).splitlines()[1]
        await pilot.click("#tabs", offset=(tabs.index("4 GPUs"), 0))
        await settled(pilot)
        assert app.main.active == "gpus"
        await pilot.click("#header", offset=(screen_text(app).splitlines()[0].index("queued"), 0))
        await settled(pilot)
        assert app.main.active == "requests"
        footer = screen_text(app).splitlines()[-1]
        await pilot.click("#footer", offset=(footer.index("esc"), 0))
        await settled(pilot)
        assert app.main.active == "chat"


async def test_help_lists_the_live_keys_of_what_has_the_focus():
    app = workstation(busy_script(), settings=TestSettings(keys={"models.unload": "alt+u"}))
    async with driven(app, (120, 60)) as pilot:
        await pilot.press("alt+2", "j", "f1")
        await settled(pilot)
        text = screen_text(app)
        assert "Help: Models" in text
        assert "Delete the model" in text
        line = next(line for line in text.splitlines() if "Unload the model" in line)
        assert "alt+u" in line
        await pilot.press("escape")
        assert app.screen is app.main


async def test_the_palette_lists_only_what_works_now():
    app = workstation(Script())
    async with driven(app) as pilot:
        titles = [command.title for command in app.main.commands()]
        assert "chat: Start a new chat" in titles
        assert "chat: Stop the answer" not in titles
        assert "model: Chat with spark:latest" in titles
        assert "theme: olla-light" in titles
        assert not any("Cancel the request" in title for title in titles)
        await pilot.press("ctrl+p")
        await settled(pilot)
        assert "go to: Models" in screen_text(app)
        await pilot.press(*"requests", "enter")
        await settled(pilot)
        assert app.main.active == "requests"


async def test_jump_mode_goes_where_the_key_says():
    app = workstation(busy_script())
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("ctrl+o", "5")
        await settled(pilot)
        assert app.main.active == "requests" and app.screen is app.main
        await pilot.press("alt+1", "ctrl+o")
        await settled(pilot)
        lines = screen_text(app).splitlines()
        heading = next(line for line in lines if "Requests" in line[80:])
        assert heading[80:].split("Requests")[0].strip().endswith("5"), "the rail's headings have the digits"
        marks = {label.render().plain: label.region.offset for label in app.screen.query("Static")}
        composer = next(
            key
            for key, offset in marks.items()
            if key.isalpha() and offset.y == app.main.chat_pane.composer.region.y
        )
        await pilot.press("escape", "ctrl+t", "ctrl+o", composer)
        await settled(pilot)
        assert focus_of(app) == "composer"
        await pilot.press("ctrl+o", "escape")
        assert app.screen is app.main


async def test_an_answer_that_ends_elsewhere_calls_the_user_back(monkeypatch):
    script = Script()
    app = workstation(script, settings=TestSettings(alerts=("bell", "title")))
    written: list[str] = []
    async with driven(app, (80, 24)) as pilot:
        monkeypatch.setattr(app, "_write_to_terminal", written.append)
        for n_turns in (2, 4):
            is_away = n_turns == 4
            script.hold = asyncio.Event()
            app.main.chat_pane.composer.text = "Why?"
            await pilot.press("enter")
            chat = app.desk.current
            await wait_until(pilot, lambda: len(script.chats) * 2 == n_turns == len(chat.turns))  # noqa: B023
            if is_away:
                app.post_message(events.AppBlur())
                await settled(pilot)
            script.hold.set()
            await wait_until(pilot, lambda: not chat.is_answering)  # noqa: B023
            await settled(pilot)
            assert bool(written) == is_away
        assert written == ["\x1b]2;* Why?: spark:latest has answered\x07\x07"]
        app.post_message(events.AppFocus())
        await settled(pilot)
        assert written[-1] == "\x1b]2;olla\x07"


async def test_a_slow_link_is_spared_by_itself_and_by_key():
    app = workstation()
    async with driven(app, (120, 40)) as pilot:
        app.state.link_bytes_per_s, app.state.slow_link = 3_000, True
        app.bridge.touch("link")
        await settled(pilot)
        assert "slow link" in screen_text(app).splitlines()[0]
        for wanted, low in ((True, True), (False, False), (None, True)):
            await pilot.press("f10")
            await settled(pilot)
            assert (app.state.wants_low_bandwidth, app.state.low_bandwidth) == (wanted, low)
            assert app.main.chat_pane.transcript.styles.scrollbar_visibility == (
                "hidden" if low else "visible"
            )


class KnownLink:
    """A link that remembers how it is spared."""

    def __init__(self):
        self.told = []

    def bytes_per_s(self):
        return 0.0

    def is_slow(self):
        return False

    def spare(self, on):
        self.told.append(on)

    def forget(self):
        self.told.append("forget")


async def test_only_changes_are_sent_unless_the_link_is_never_spared():
    app = workstation()
    link = app._link = KnownLink()
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("f10", "f10")
        await wait_until(pilot, lambda: False in link.told)
        await pilot.press("f10")
        await wait_until(pilot, lambda: link.told[-1] is True)
        await pilot.resize_terminal(100, 30)
        await wait_until(pilot, lambda: link.told[-1] == "forget")


async def test_the_users_keys_move_and_clashes_are_told():
    keys = {"pane.logs": "f3", "app.nothing": "f4", "chat.new": "none"}
    app = workstation(settings=TestSettings(keys=keys))
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+6")
        assert app.main.active == "chat"
        messages = [notification.message for notification in app._notifications]
        assert any('"app.nothing" is no action' in message for message in messages)
        assert any('"pane.models" and by' in message or '"pane.logs"' in message for message in messages)


async def test_themes_switch_while_running():
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        assert app.theme == "olla-dark"
        before = app.main.query_one("#header").styles.background
        app.theme = "olla-light"
        await settled(pilot)
        assert app.main.query_one("#header").styles.background != before
        for name in ("textual-dark", "nord", "high-contrast"):
            app.theme = name
            await settled(pilot)
            assert "olla" in screen_text(app)
        await pilot.press("f9")
        assert app.theme != "high-contrast"


async def test_an_unknown_theme_is_told_and_the_default_used():
    app = workstation(settings=TestSettings(theme="olla-drak"))
    async with driven(app, (80, 24)):
        assert app.theme == "olla-dark"
        assert any("olla-drak" in notification.message for notification in app._notifications)


async def test_a_theme_that_the_user_changes_is_shown_and_one_with_a_fault_is_not(tmp_path):
    path = tmp_path / "mine.toml"
    text = 'schema = 1\nname = "mine"\nextends = "olla-dark"\n[colors]\npanel = "#333333"\n'
    path.write_text(text)
    app = workstation(settings=TestSettings(theme="mine", themes_dir=tmp_path))
    async with driven(app, (80, 24)) as pilot:
        assert app._watching_themes is not None
        app._watching_themes.cancel()  # the test looks in its place
        header = app.main.query_one("#header")
        assert header.styles.background.hex == "#333333"
        for panel, shown in (("#444444", "#444444"), ("bluish", "#444444"), ("#222222", "#222222")):
            path.write_text(text.replace("#333333", panel) + f"# {panel}\n")
            app.take_changed_themes(app._shelf.changed())
            await settled(pilot)
            assert header.styles.background.hex == shown
        messages = [notification.message for notification in app._notifications]
        assert any('mine.toml:5: colors.panel is no colour: "bluish"' in message for message in messages)


async def test_a_theme_says_how_meters_are_drawn_while_the_screen_runs(tmp_path):
    path = tmp_path / "mine.toml"
    text = 'schema = 1\nname = "mine"\nextends = "olla-dark"\n'
    path.write_text(text)
    app = workstation(busy_script(), settings=TestSettings(theme="mine", themes_dir=tmp_path))
    async with driven(app, (80, 24)) as pilot:
        app._watching_themes.cancel()  # the test looks in its place

        async def change(more):
            path.write_text(text + more)
            app.take_changed_themes(app._shelf.changed())
            await settled(pilot)
            return next(span for span in app.main.query_one("#header").rows[0] if span.text.endswith("71%"))

        assert "█" in screen_text(app).splitlines()[0]
        assert (await change("[meter]\nwarn_at = 80\n")).role == "meter.low"
        assert (await change("[meter]\nwarn_at = 20\nhigh_at = 70\n")).role == "meter.high"
        await change('[glyphs]\nfull = "■"\nprompt = "»"\n')
        assert "■" in screen_text(app).splitlines()[0] and "»" in screen_text(app)
        await change('[glyphs]\nset = "ascii"\n')
        assert screen_text(app).isascii()
        app.theme = "olla-dark"
        await settled(pilot)
        assert "█" in screen_text(app).splitlines()[0]


async def test_without_utf8_nothing_but_ascii_is_drawn():
    terminal = {"LANG": "de_DE.ISO-8859-1"}
    app = workstation(busy_script(), settings=TestSettings(ascii_only=True, terminal=terminal))
    async with driven(app, (120, 40)) as pilot:
        for keys in (("alt+2", "i"), ("alt+4",), ("f1",), ("escape", "ctrl+p"), ("escape", "ctrl+q")):
            await pilot.press(*keys)
            await settled(pilot)
            assert screen_text(app).isascii(), keys


async def test_no_color_means_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = workstation(busy_script(), settings=TestSettings(no_color=True))
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2")
        await settled(pilot)
        styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip]
        colors = [color for style in styles if style for color in (style.color, style.bgcolor) if color]
        assert colors and all(color.is_default for color in colors)
        assert any(style.reverse for style in styles if style), "the cursor's line still stands out"


@pytest.mark.parametrize("depth", ["truecolor", "16"])
async def test_every_theme_can_be_shown_and_keeps_the_line_under_the_cursor_apart(depth):
    app = workstation(busy_script(), settings=TestSettings(depth=depth))
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "j")
        for name in BUILTIN:
            app.theme = name
            await settled(pilot)
            rows = [number for number, line in enumerate(screen_text(app).splitlines()) if " GB " in line]
            strips = app.screen._compositor.render_strips()
            grounds = [
                {(segment.style.bgcolor, segment.style.reverse) for segment in strips[row] if segment.style}
                for row in rows
            ]
            (cursor,) = [row for row in rows if "▸" in screen_text(app).splitlines()[row]]
            apart = [ground for row, ground in zip(rows, grounds, strict=True) if row != cursor]
            assert apart and grounds[rows.index(cursor)] not in apart, name
