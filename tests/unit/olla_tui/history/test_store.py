import asyncio
import sqlite3
import stat

import msgspec
import pytest

from olla_tui.history import search
from olla_tui.history.migrations import STEPS
from olla_tui.history.store import HistoryStore
from olla_tui.state.chat_list import BEGIN_MARK, END_MARK
from olla_tui.state.conversation import Conversation
from olla_tui.state.drafts import Draft, MediaPart, TextFile
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


def branched(number: int) -> Conversation:
    chat = chat_of(number, "An apple a day")
    chat.drop_answer()
    chat.begin_answer(5)
    chat.add(Chunk(content="A pear instead"), 5)
    chat.end_with(None, 6)
    return chat


async def test_branches_options_and_files_come_back(store):
    chat = branched(1)
    chat.options = {"top_k": 5, "stop": ("a", "b"), "temperature": 0.25}
    chat.ask("Look", 7, draft=Draft("Look", (TextFile("a.py", "x"),), (MediaPart("p.png", b"\x89PNG"),)))
    await store.save(chat)
    back = await store.load("1")
    assert (back.turns, list(back.aside.values()), back.options) == (
        chat.turns,
        list(chat.aside.values()),
        chat.options,
    )
    assert back.show_sibling(back.turns[1].key, -1) and back.turns[1].content == "An apple a day"


async def test_only_what_changed_is_written_again(store, tmp_path):
    chat = chat_of(1)
    await store.save(chat)
    connection = sqlite3.connect(tmp_path / "deep" / "chats.sqlite")
    connection.execute("UPDATE turns SET body = x'00' WHERE position = 0")
    connection.commit()
    chat.ask("And?", 3)
    await store.save(chat)
    bodies = [body for (body,) in connection.execute("SELECT body FROM turns ORDER BY position")]
    connection.close()
    assert bodies[0] == b"\x00" and len(bodies) == 3


async def test_a_chat_that_another_screen_has_written_is_written_whole(store, tmp_path):
    chat = chat_of(1)
    await store.save(chat)
    other = HistoryStore(tmp_path / "deep" / "chats.sqlite")
    theirs = await other.load("1")
    theirs.drop_answer()
    theirs.ask("Theirs", 5)
    await other.save(theirs)
    chat.ask("Mine", 6)
    await store.save(chat)
    assert (await other.load("1")).turns == chat.turns
    await other.delete("1")
    await store.save(chat)
    assert (await other.load("1")).turns == chat.turns
    await other.close()


async def test_search_finds_words_in_any_branch(store):
    await store.save(branched(1))
    await store.save(chat_of(2, "Pears grow on trees"))
    found = await store.search("pear")
    assert [chat.id for chat in found.chats] == ["1", "2"] and found.note == ""
    assert f"{BEGIN_MARK}pear{END_MARK}" in found.chats[0].excerpt.lower()
    assert [chat.id for chat in (await store.search("apple day")).chats] == ["1"]
    assert [chat.id for chat in (await store.search("question 2")).chats] == ["2"]
    assert [chat.id for chat in (await store.search(" ")).chats] == ["1", "2"]
    assert (await store.search('"; DROP *')).chats == []


async def test_search_forgets_what_is_deleted_and_what_changed(store):
    chat = branched(1)
    await store.save(chat)
    await store.delete("1")
    assert (await store.search("pear")).chats == []
    await store.save(chat)
    assert [found.id for found in (await store.search("pear")).chats] == ["1"]


async def test_search_finds_parts_of_words_that_no_space_parts(store):
    await store.save(chat_of(1, "東京は日本の首都です"))
    found = await store.search("首都")
    assert [chat.id for chat in found.chats] == ["1"] and f"{BEGIN_MARK}首都{END_MARK}" in found.chats[
        0
    ].excerpt


async def test_without_an_index_every_chat_is_read_and_that_is_said(tmp_path, monkeypatch):
    path = tmp_path / "chats.sqlite"
    indexed = HistoryStore(path)
    await indexed.save(branched(1))
    await indexed.close()
    monkeypatch.setattr(search, "has_fts5", lambda connection: False)
    plain = HistoryStore(path)
    await plain.save(chat_of(2, "Pears grow on trees"))
    found = await plain.search("pear")
    assert [chat.id for chat in found.chats] == ["1", "2"] and found.note == search.NO_INDEX_NOTE
    await plain.close()
    monkeypatch.undo()
    again = HistoryStore(path)
    assert [chat.id for chat in (await again.search("trees")).chats] == ["2"]
    await again.close()


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path):
    path = tmp_path / "chats.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(f"{STEPS[0]} PRAGMA user_version = 1;")
    values = ("1", "Old", "m", "", "null", 0.3, 1.0, 2.0)
    connection.execute("INSERT INTO chats VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    body = msgspec.msgpack.encode({"role": "user", "content": "An old question"})
    connection.execute("INSERT INTO turns VALUES ('1', 0, ?)", (body,))
    connection.commit()
    connection.close()
    store = HistoryStore(path)
    back = await store.load("1")
    assert (back.temperature, back.turns[0].key, back.turns[0].content) == (0.3, 1, "An old question")
    assert [chat.id for chat in (await store.search("old question")).chats] == ["1"]
    back.ask("A new one", 3)
    await store.save(back)
    assert [turn.content for turn in (await store.load("1")).turns] == ["An old question", "A new one"]
    await store.close()


async def test_votes_are_counted(store):
    await store.add_vote("Why?", "a", ["b", "c"], 1)
    await store.add_vote("How?", "a", ["b"], 2)
    assert sorted(await store.votes()) == [("a", "b", 2), ("a", "c", 1)]
