"""Pictures of the workstation at three sizes; a change of any of them is to be looked at."""

import time

import pytest

from tests.support.workstation import TestSettings, settled, wait_until, workstation
from tests.support.workstation_script import busy_script, empty_script

SIZES = [(80, 24), (120, 40), (200, 60)]


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


def picture(snap_compare, script, size, *keys, theme="olla-dark", asked=""):
    app = workstation(script, settings=TestSettings(theme=theme))

    async def before(pilot):
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

    assert snap_compare(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
class TestPanes:
    def test_chat(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, asked="Why is the sky blue?")

    def test_models(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+2", "j", "i")

    def test_running(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+3", "j", "i")

    def test_gpus(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+4")

    def test_looking_back(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+4", "right_square_bracket", *["left"] * 5)

    def test_requests(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+5", "enter")

    def test_logs(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+6", "l")

    def test_pulls(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+7", "G", "k", "k")

    def test_bench(self, snap_compare, size):
        picture(snap_compare, busy_script(), size, "alt+8")

    def test_first_start(self, snap_compare, size):
        picture(snap_compare, empty_script(), size)


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
    picture(snap_compare, busy_script(), size, *keys)


@pytest.mark.parametrize("theme", ["olla-light", "high-contrast"])
def test_themes(snap_compare, theme):
    picture(snap_compare, busy_script(), (120, 40), "alt+2", theme=theme)


def test_the_smallest_terminal(snap_compare):
    picture(snap_compare, busy_script(), (40, 10), "alt+5")
