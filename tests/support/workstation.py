"""The workstation under a pilot: built from a script, waited for by what it shows."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from textual.pilot import Pilot
from textual.widget import Widget

from olla_tui.app import OllaApp, QuitChoice
from olla_tui.history.store import HistoryStore
from olla_tui.settings import Pace, TuiSettings
from tests.support.scripted_tui_services import ScriptedServices
from tests.support.workstation_script import Script

WAIT_S = 10.0


class TestSettings(TuiSettings):
    """Settings that tell changes at once, so that tests wait less."""

    __test__ = False

    def pace(self, *, low_bandwidth: bool) -> Pace:
        return Pace(0.05, 200.0)


def workstation(
    script: Script | None = None,
    *,
    services: ScriptedServices | None = None,
    attached: bool = False,
    history: HistoryStore | None = None,
    settings: TuiSettings | None = None,
    first_id: int = 1,
    settled: Callable[[], None] = lambda: None,
) -> OllaApp:
    """A workstation on scripted services, with ids that count from `first_id` for its chats."""
    script = script or (services.script if services else Script())
    connected = services or ScriptedServices(script)
    ids = itertools.count(first_id)

    async def open_services() -> ScriptedServices:
        return connected

    return OllaApp(
        open_services,
        settings or TestSettings(),
        attached=attached,
        history=history,
        clock=script.clock,
        new_id=lambda: str(next(ids)),
        settled=settled,
    )


async def wait_until(pilot: Pilot[object], holds: Callable[[], object]) -> None:
    """Let the screen run until something holds. Raises: AssertionError when it takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert pilot.app.is_running, "the screen has ended"
        assert time.monotonic() < deadline, "what the test waits for did not come about"
        await pilot.pause()


@asynccontextmanager
async def driven(app: OllaApp, size: tuple[int, int] = (120, 40)) -> AsyncGenerator[Pilot[QuitChoice], None]:
    """The application running at a size, its first models read and shown."""
    async with app.run_test(size=size) as pilot:
        await wait_until(pilot, lambda: app.state.models is not None)
        await settled(pilot)
        yield pilot


async def settled(pilot: Pilot[object]) -> None:
    """Let messages, layout and coalesced changes come to rest."""
    bridge = pilot.app.bridge  # type: ignore[attr-defined]
    has_changed = True
    while has_changed:
        await wait_until(pilot, lambda: not bridge.has_news)
        for _ in range(2):
            await pilot.pause()
        has_changed = bridge.has_news  # what was drawn may have asked for more


def screen_text(app: OllaApp) -> str:
    """What the terminal shows, one line per row."""
    width, height = app.size
    rows = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip)[:width] for strip in rows[:height])


def focus_of(app: OllaApp) -> str:
    """Id of the widget that has the focus, "" for none."""
    focused: Widget | None = app.screen.focused
    return (focused.id or type(focused).__name__) if focused is not None else ""


__all__ = ["TestSettings", "driven", "focus_of", "screen_text", "settled", "wait_until", "workstation"]
