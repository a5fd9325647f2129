import asyncio
import sqlite3
import stat

import pytest

from olla_tui.history.store import HistoryStore
from olla_tui.state.conversation import Conversation
from server.errors import StoreError
from server.types.generation import Chunk, Completed, Timings


@pytest.fixture
async def store(tmp_path):
    history = HistoryStore(tmp_path / "deep" / "chats.sqlite", max_chats=3)
    yield history
    await history.close()


def chat_of(number: int, answer: str = "Because.") -> Conversation:
    chat = Conversation(id=str(number), model="spark:latest", created_at=number)
    chat.ask(f"Question {number}", number)
    chat.begin_answer(number)
    chat.add(Chunk(content=answer, thinking="Hm"), number + 0.5)
    chat.complete(Completed(reason="stop", timings=Timings(n_prompt_tokens=4, n_output_tokens=2)), number + 1)
    return chat


async def test_a_chat_comes_back_as_it_was(store):
    chat = chat_of(1, "Weil.\n日本 🙂")
    chat.think, chat.temperature, chat.system = "high", 0.7, "Be brief."
    await store.save(chat)
    back = await store.load("1")
    assert back is not None
    assert back.turns == chat.turns
    assert (back.title, back.model, back.think, back.temperature, back.system) == (
        "Question 1",
        "spark:latest",
        "high",
        0.7,
        "Be brief.",
    )
    assert (back.created_at, back.updated_at) == (1, 2)


async def test_saving_again_replaces_turns_and_drops_those_that_are_gone(store):
    chat = chat_of(1)
    await store.save(chat)
    chat.drop_answer()
    chat.title = "Renamed"
    await store.save(chat)
    back = await store.load("1")
    assert back is not None and [turn.role for turn in back.turns] == ["user"]
    assert (await store.list_chats())[0].title == "Renamed"


async def test_an_answer_under_way_is_kept_as_stopped(store):
    chat = Conversation(id="1", model="m")
    chat.ask("Why?", 1)
    chat.begin_answer(1)
    chat.add(Chunk(content="Be"), 2)
    await store.save(chat)
    back = await store.load("1")
    assert back is not None and (back.turns[-1].state, back.turns[-1].content) == ("stopped", "Be")
    assert chat.is_answering, "the chat itself goes on"


async def test_the_oldest_chats_go_first(store):
    for number in range(1, 6):
        await store.save(chat_of(number))
    assert [summary.id for summary in await store.list_chats()] == ["5", "4", "3"]
    assert await store.load("1") is None


async def test_lists_are_filtered_by_title_and_model(store):
    for number in (1, 2):
        await store.save(chat_of(number))
    assert [summary.id for summary in await store.list_chats("question 2")] == ["2"]
    assert len(await store.list_chats("SPARK")) == 2
    assert await store.list_chats("100%_") == []
    assert (await store.list_chats())[0].n_turns == 2


async def test_renaming_and_deleting(store):
    await store.save(chat_of(1))
    await store.rename("1", "Other")
    assert (await store.list_chats())[0].title == "Other"
    await store.delete("1")
    assert await store.list_chats() == []
    assert await store.load("1") is None


async def test_the_latest_prompts_come_oldest_first(store):
    for number in (1, 2, 3):
        await store.save(chat_of(number))
    assert await store.prompts(2) == ["Question 2", "Question 3"]


async def test_the_file_is_its_owners_alone_and_in_wal_mode(store, tmp_path):
    await store.save(chat_of(1))
    path = tmp_path / "deep" / "chats.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT COUNT(*) FROM turns").fetchone() == (2,)
    other.close()


async def test_a_newer_file_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "chats.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    history = HistoryStore(path)
    with pytest.raises(StoreError, match="newer olla") as caught:
        await history.list_chats()
    assert caught.value.hint
    await history.close()


async def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "chats.sqlite"
    path.write_bytes(b"this is no database, whatever its name says" * 40)
    history = HistoryStore(path)
    with pytest.raises(StoreError) as caught:
        await history.list_chats()
    assert str(path) in caught.value.hint
    await history.close()


async def test_many_writers_on_one_store_do_not_meet(store):
    chats = [chat_of(number) for number in range(1, 4)]
    await asyncio.gather(*(store.save(chat) for chat in chats for _ in range(5)))
    assert len(await store.list_chats()) == 3
