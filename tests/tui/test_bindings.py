"""Every key that a widget or dialog binds by itself is pressed where it works.

Those of the registry of actions are pressed in `test_workstation_keys`.
"""

import importlib
import pkgutil
from dataclasses import dataclass

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

import olla_tui
from olla_tui.actions import BY_ID
from olla_tui.app import OllaApp
from tests.support.workstation import driven, settled, wait_until, workstation
from tests.support.workstation_script import busy_script, empty_script


@dataclass(frozen=True)
class Way:
    """How to get where the keys of a class work. `asked`: a question that is answered first."""

    keys: tuple[str, ...]
    script: object = busy_script
    size: tuple[int, int] = (100, 30)
    asked: str = ""


WAYS = {
    "FilterInput": Way(("alt+2", "slash")),
    "Composer": Way(("alt+1",)),
    "Transcript": Way(("ctrl+t",), asked="Why?"),
    "LineTable": Way(("alt+5",)),
    "ChatOptionsScreen": Way(("alt+o", "tab", "tab")),
    "ChoiceScreen": Way(("ctrl+q",)),
    "ChatSwitcher": Way(("ctrl+l",), asked="Why?"),
    "PickerScreen": Way(("alt+m",)),
    "ComparePicker": Way(("alt+k",)),
    "FormScreen": Way(("alt+2", "n")),
    "HelpScreen": Way(("f1",)),
    "MainScreen": Way((), size=(39, 9)),
    "CompareScreen": Way(("alt+k", "tab", "enter", "W", "enter")),
    "WelcomeBoard": Way((), script=empty_script),
}


def own_bindings():
    """Each class of the screen that binds keys outside the registry, with those bindings."""
    for module in pkgutil.walk_packages(olla_tui.__path__, "olla_tui."):
        if ".cli" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting, found = [DOMNode], {}
    while waiting:
        for known in waiting.pop().__subclasses__():
            waiting.append(known)
            mine = [entry for entry in known.__dict__.get("BINDINGS", ()) if isinstance(entry, Binding)]
            others = [entry for entry in mine if entry.id not in BY_ID]
            if known.__module__.startswith("olla_tui.") and others:
                found[known] = others
    return found


OWN = own_bindings()


def test_every_class_that_binds_keys_is_visited_and_every_binding_has_an_id():
    assert {known.__name__ for known in OWN} == set(WAYS)
    ids = [entry.id for entries in OWN.values() for entry in entries]
    assert all(ids) and len(ids) == len(set(ids))


@pytest.mark.parametrize("owner", OWN, ids=lambda owner: owner.__name__)
async def test_every_key_that_a_widget_binds_starts_what_it_says(owner, monkeypatch):
    way = WAYS[owner.__name__]
    app = workstation(way.script())
    async with driven(app, way.size) as pilot:
        if way.asked:
            app.main.chat_pane.composer.text = way.asked
            await pilot.press("enter")
            await wait_until(pilot, lambda: app.desk.current.turns and not app.desk.current.is_answering)
        for key in way.keys:
            await pilot.press(key)
            await settled(pilot)
        if issubclass(owner, Screen):
            await wait_until(pilot, lambda: isinstance(app.screen, owner))
            await settled(pilot)
        started: list[str] = []
        for entry in OWN[owner]:
            place = OllaApp if entry.action.startswith("app.") else owner
            method = entry.action.removeprefix("app.").partition("(")[0]
            with monkeypatch.context() as patch:
                patch.setattr(place, f"action_{method}", lambda self, *_, name=entry.id: started.append(name))
                for key in entry.key.split(","):
                    started.clear()
                    await pilot.press(key)
                    await pilot.pause()
                    assert started == [entry.id], f"{key} did not start {entry.id}"
