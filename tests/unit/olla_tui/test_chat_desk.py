"""Chats that take much memory are left to the history, and come back from it as they were."""

import pytest

from olla_tui.bridge import Bridge
from olla_tui.history.store import HistoryStore
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.state.conversation import Conversation, Turn
from olla_tui.state.workstation import MAX_IDLE_CHARS, MIN_IDLE_CHATS, Workstation


def long_chat(name: str) -> Conversation:
    turns = [Turn(role="user", content="Why?"), Turn(role="assistant", content="ä" * MAX_IDLE_CHARS)]
    return Conversation(id=name, title=name, system=f"of {name}", turns=turns)


@pytest.fixture
async def desk(tmp_path):
    desk = ChatDesk(Bridge(None, Workstation()), HistoryStore(tmp_path / "chats.sqlite"))
    yield desk
    await desk.close()


def in_memory(desk) -> list[str]:
    return [chat.id for chat in desk._bridge.state.chats]


async def carried_out(desk) -> None:
    """Wait until no order is under way."""
    while tasks := [*desk._bridge._tasks]:
        for task in tasks:
            await task


async def test_long_chats_are_put_away_and_come_back(desk):
    before = {name: long_chat(name) for name in "abcde"}
    for chat in before.values():
        desk.adopt(chat)
        await carried_out(desk)
    assert in_memory(desk) == ["c", "d", "e"]
    before["a"].system = "changed, and not in the file"
    assert await desk.open("a")
    assert desk.current is not before["a"] and desk.current.system == "of a"
    assert [turn.content for turn in desk.current.turns] == [turn.content for turn in before["a"].turns]
    await carried_out(desk)
    assert in_memory(desk) == ["d", "e", "a"]


async def test_what_was_changed_last_is_kept_when_a_chat_is_put_away(desk):
    first = long_chat("a")
    desk.adopt(first)
    await carried_out(desk)
    first.system = "Answer in rhymes."
    for name in "bcd":
        desk.adopt(long_chat(name))
        await carried_out(desk)
    assert "a" not in in_memory(desk)
    assert await desk.open("a") and desk.current.system == "Answer in rhymes."


async def test_a_chat_that_was_deleted_meanwhile_does_not_come_back(desk):
    for name in "abc":
        desk.adopt(long_chat(name))
        await carried_out(desk)
    desk.adopt(long_chat("d"))  # orders that a is put away
    await desk.delete("a")
    await carried_out(desk)
    assert not await desk.open("a")


async def test_a_chat_that_was_opened_meanwhile_stays(desk):
    for name in "abc":
        desk.adopt(long_chat(name))
        await carried_out(desk)
    desk.adopt(long_chat("d"))
    assert desk.open_at_once("a")
    await carried_out(desk)
    assert desk.current.id == "a" and in_memory(desk)[-1] == "a"


async def test_without_a_history_chats_stay_in_memory():
    desk = ChatDesk(Bridge(None, Workstation()), None)
    for name in "abcde":
        desk.adopt(long_chat(name))
        await carried_out(desk)
    assert in_memory(desk) == [*"abcde"]


def test_what_no_file_holds_stays_in_memory():
    state = Workstation()
    for name in "abcdef":
        state.open_chat(long_chat(name))
    answers, waits, edited, foreign = state.chats[:4]
    answers.begin_answer(0)
    waits.queue.append(object())
    edited.editing = 1
    foreign.is_kept = False
    assert state.surplus_chats() == []
    state.open_chat(long_chat("g"))
    state.open_chat(long_chat("h"))
    assert [chat.id for chat in state.surplus_chats()] == ["e"]
    assert len(state.chats) - 1 - 5 == MIN_IDLE_CHATS
