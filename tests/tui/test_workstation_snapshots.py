"""Pictures of the workstation at three sizes, every pane in three themes; any change is to be looked at."""

import time

import pytest

from olla_tui.screens.compare import CompareScreen
from tests.support.pictures import pictures
from tests.support.workstation import TestSettings, screen_text, settled, wait_until, workstation
from tests.support.workstation_script import busy_script, empty_script

SIZES = [(80, 24), (120, 40), (200, 60)]
MORE_THEMES = ("olla-light", "mono")
"""Each pane is drawn in these as well; the pictures of the first theme have no name of their own."""

PROMPT = "<|system|>\nYou are terse.<|end|>\n<|user|>\nWhy is the sky blue?<|end|>\n<|assistant|>\n"

__all__ = ["pictures"]


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Clock times in the pictures are those of UTC on every machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def ready(pilot):
    app = pilot.app
    await wait_until(pilot, lambda: app.state.models is not None)
    await settled(pilot)


async def go(pilot, keys, asked=""):
    app = pilot.app
    await ready(pilot)
    if asked:
        app.main.chat_pane.composer.text = asked
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.desk.current.turns and not app.desk.current.is_answering)
    for key in keys:
        await pilot.press(key)
        await settled(pilot)
    await app.bridge.poll_once()
    await settled(pilot)
    app.clear_notifications()
    await settled(pilot)


def picture(snap_compare, script, size, *keys, theme="olla-dark", until=lambda app: True):
    app = workstation(script, settings=TestSettings(theme=theme))

    async def before(pilot):
        await go(pilot, keys)
        await wait_until(pilot, lambda: until(app))
        await settled(pilot)

    assert snap_compare(app, terminal_size=size, run_before=before)


PANES = {
    "chat": (),
    "models": ("alt+2", "j", "i"),
    "running": ("alt+3", "j", "i"),
    "gpus": ("alt+4",),
    "looking_back": ("alt+4", "right_square_bracket", *["left"] * 5),
    "requests": ("alt+5", "enter"),
    "logs": ("alt+6", "l"),
    "pulls": ("alt+7", "G", "k", "k"),
    "bench": ("alt+8",),
    "first_start": (),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("pane", PANES)
async def test_panes(pictures, pane, size):
    script = empty_script() if pane == "first_start" else busy_script()
    script.prompts = {3: PROMPT} if pane == "requests" else {}
    asked = "Why is the sky blue?" if pane == "chat" else ""
    app = workstation(script, settings=TestSettings(theme="olla-dark"))
    async with app.run_test(size=size) as pilot:
        await go(pilot, PANES[pane], asked)
        if pane != "first_start" and size == SIZES[-1]:  # a rail has details, asked for once it is drawn
            await wait_until(pilot, lambda: "Apache" in screen_text(app))
        if pane == "requests":
            await wait_until(pilot, lambda: app.main.pane("requests")._prompt is not None)
            await settled(pilot)
        differing = [] if pictures.same(app.export_screenshot()) else [app.theme]
        for theme in MORE_THEMES:
            app.theme = theme
            await settled(pilot)
            differing += [] if pictures.same(app.export_screenshot(), theme) else [theme]
    assert not differing, "the report shows the pictures"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("help", ("alt+2", "f1")),
        ("model_picker", ("alt+m",)),
        ("chat_options", ("alt+o",)),
        ("chat_switcher", ("ctrl+l",)),
        ("compare_picker", ("alt+k", "tab")),
        ("quit", ("ctrl+q",)),
        ("delete", ("alt+2", "d")),
        ("pull", ("alt+7", "p", "a", "space", "b")),
        ("limit", ("alt+7", "l")),
        ("create", ("alt+2", "n")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dialogs(snap_compare, name, keys):
    picture(snap_compare, busy_script(), (100, 30), *keys)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_compare(snap_compare, size):
    keys = ("alt+k", "tab", "enter", "W", "enter")

    def has_all_answers(app):
        return isinstance(app.screen, CompareScreen) and app.screen._timer is None

    picture(snap_compare, busy_script(), size, *keys, until=has_all_answers)


def test_high_contrast(snap_compare):
    picture(snap_compare, busy_script(), (120, 40), "alt+2", theme="high-contrast")


def test_the_smallest_terminal(snap_compare):
    picture(snap_compare, busy_script(), (40, 10), "alt+5")
