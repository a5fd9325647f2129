"""The bridge on a real loop: what it folds, how often it tells, and how answers end."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from olla_tui.bridge import Bridge
from olla_tui.state.conversation import Conversation
from olla_tui.state.drafts import Draft
from olla_tui.state.workstation import Workstation
from server.errors import EngineCrashed, ServerUnreachable
from tests.support.scripted_tui_services import ScriptedServices
from tests.support.workstation_script import Script, busy_script


class Ear:
    """Writes down what the bridge tells."""

    def __init__(self) -> None:
        self.changes: list[frozenset[str]] = []
        self.notices: list[tuple[str, str, str]] = []
        self.ended: list[str] = []

    def state_changed(self, parts: frozenset[str]) -> None:
        self.changes.append(parts)

    def notice(self, text: str, severity: str, hint: str) -> None:
        self.notices.append((text, severity, hint))

    def chat_ended(self, chat: Conversation) -> None:
        self.ended.append(chat.id)


async def until(holds: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 (what holds is plain state, which sets no event)
            await asyncio.sleep(0.001)


@pytest.fixture
async def desk():
    script = Script()
    bridge = Bridge(
        ScriptedServices(script), Workstation(), poll_s=0.01, frames_per_s=200, clock=script.clock
    )
    ear = Ear()
    yield bridge, script, ear
    await bridge.close()


async def test_the_first_turn_reads_status_and_store(desk):
    bridge, script, ear = desk
    bridge.start(ear)
    await until(lambda: ear.changes)
    assert {"status", "models"} <= frozenset().union(*ear.changes)
    assert bridge.state.connection == "up"
    assert bridge.state.models == tuple(script.models)


async def test_an_idle_server_is_silent(desk):
    bridge, _, ear = desk
    for _ in range(3):
        await bridge.poll_once()
    bridge.start(ear)
    await until(lambda: bridge.state.now)
    n_polls = 0
    for _ in range(5):
        await bridge.poll_once()
        n_polls += 1
    assert ear.changes == []


async def test_a_server_that_fails_is_down_until_it_answers(desk):
    bridge, script, _ = desk
    script.down = ServerUnreachable("could not connect to an olla server at http://127.0.0.1:11434 (refused)")
    await bridge.poll_once()
    assert (bridge.state.connection, bridge.state.problem) == ("down", "no server answers, asking again")
    script.down = None
    await bridge.poll_once()
    assert bridge.state.connection == "up"


async def test_logs_are_pulled_only_while_somebody_looks(desk):
    bridge, script, _ = desk
    await bridge.poll_once()
    assert bridge.state.logs.last_number == 0
    bridge.watch_logs(True)
    await bridge.poll_once()
    assert bridge.state.logs.last_number == len(script.logs)


async def test_an_answer_reaches_the_chat(desk):
    bridge, script, ear = desk
    bridge.start(ear)
    chat = Conversation(id="1", model="spark:latest")
    bridge.send(chat, Draft("Hello"))
    await until(lambda: ear.ended)
    assert chat.turns[-1].content == "Hello, world."
    assert chat.turns[-1].state == "done"
    assert script.chats[0].messages[-1].content == "Hello"


async def test_however_many_tokens_come_the_screen_hears_few_times():
    script = Script(answer=("x",) * 2000)
    bridge = Bridge(ScriptedServices(script), Workstation(), poll_s=60, frames_per_s=20, clock=script.clock)
    ear = Ear()
    bridge.start(ear)
    started = asyncio.get_running_loop().time()
    chat = Conversation(id="1", model="m")
    bridge.send(chat, Draft("Go"))
    await until(lambda: ear.ended)
    elapsed = asyncio.get_running_loop().time() - started
    assert len(ear.changes) <= elapsed * 20 + 1
    assert len(chat.turns[-1].content) == 2000
    await bridge.close()


async def test_what_the_user_changes_is_told_at_once():
    script = Script()
    bridge = Bridge(
        ScriptedServices(script), Workstation(), poll_s=60, frames_per_s=0.001, clock=script.clock
    )
    ear = Ear()
    bridge.start(ear)
    await until(lambda: ear.changes)
    bridge.touch("chat")
    await until(lambda: frozenset(("chat",)) in ear.changes)
    await bridge.close()


async def test_stopping_closes_the_stream_and_keeps_what_came(desk):
    bridge, script, ear = desk
    script.hold = asyncio.Event()
    bridge.start(ear)
    chat = Conversation(id="1", model="m")
    bridge.send(chat, Draft("Go"))
    await until(lambda: chat.turns[-1].content == "Hello, world")
    assert bridge.stop(chat)
    await until(lambda: ear.ended)
    assert (chat.turns[-1].state, chat.turns[-1].content) == ("stopped", "Hello, world")
    assert script.n_cancelled == 1
    assert not bridge.stop(chat)


async def test_an_answer_that_is_stopped_at_once_ends_too(desk):
    bridge, script, ear = desk
    bridge.start(ear)
    chat = Conversation(id="1", model="m")
    bridge.send(chat, Draft("Go"))
    assert chat.is_answering
    assert bridge.stop(chat)
    await until(lambda: ear.ended)
    assert chat.turns[-1].state == "stopped"
    assert script.chats == []


async def test_a_failure_is_told_in_the_chat(desk):
    bridge, script, ear = desk
    script.failure = EngineCrashed("the worker ended", hint="It starts again by itself.")
    bridge.start(ear)
    chat = Conversation(id="1", model="m")
    bridge.send(chat, Draft("Go"))
    await until(lambda: ear.ended)
    turn = chat.turns[-1]
    assert (turn.state, turn.error, turn.hint) == ("failed", "the worker ended", "It starts again by itself.")


async def test_a_fault_of_ours_fails_the_answer_and_not_the_screen(desk, caplog):
    bridge, script, ear = desk
    script.failure = ZeroDivisionError("by zero")
    bridge.start(ear)
    chat = Conversation(id="1", model="m")
    bridge.send(chat, Draft("Go"))
    await until(lambda: ear.ended)
    assert "by zero" in chat.turns[-1].error
    assert "an answer failed" in caplog.text


async def test_two_chats_answer_at_once(desk):
    bridge, script, ear = desk
    script.hold = asyncio.Event()
    bridge.start(ear)
    chats = [Conversation(id=str(number), model="m") for number in range(2)]
    for chat in chats:
        bridge.send(chat, Draft("Go"))
        bridge.answer(chat)
    await until(lambda: all(chat.turns[-1].content == "Hello, world" for chat in chats))
    assert len(script.chats) == 2, "a chat has one answer under way at most"
    script.hold.set()
    await until(lambda: len(ear.ended) == 2)


async def test_orders_tell_how_they_ended(desk):
    bridge, script, ear = desk
    bridge.start(ear)
    bridge.delete_model("gpt-oss:120b")
    bridge.delete_model("gone:1")
    bridge.unload("llama3.2:3b")
    await until(lambda: len(ear.notices) == 3)
    assert {severity for _, severity, _ in ear.notices} == {"information", "error"}
    assert ("model 'gone:1' not found", "error", "") in ear.notices
    assert "delete gpt-oss:120b" in script.asked


async def test_the_count_of_tokens_is_the_servers():
    script = busy_script()
    script.hold = asyncio.Event()
    bridge = Bridge(ScriptedServices(script), Workstation(), poll_s=60, clock=script.clock)
    chat = Conversation(id="1", model="qwen3:14b-q4_K_M")
    bridge.state.open_chat(chat)
    ear = Ear()
    bridge.start(ear)
    bridge.send(chat, Draft("Go"))
    await until(lambda: chat.turns[-1].content)
    script.requests[0] = msgspec.structs.replace(script.requests[1], route="chat", n_output_tokens=99)
    await bridge.poll_once()
    assert chat.turns[-1].n_output_tokens == 99
    await bridge.close()
    assert chat.turns[-1].state == "stopped", "closing stops what is under way"


async def test_the_link_rate_is_told_in_two_digits():
    class Link:
        rate = 14_321.0
        slow = False

        def bytes_per_s(self) -> float:
            return self.rate

        def is_slow(self) -> bool:
            return self.slow

    script, link = Script(), Link()
    bridge = Bridge(ScriptedServices(script), Workstation(), clock=script.clock, link=link)
    await bridge.poll_once()
    assert bridge.state.link_bytes_per_s == 14_000
    assert not bridge.state.slow_link
    link.slow = True
    await bridge.poll_once()
    assert bridge.state.slow_link
    await bridge.close()
