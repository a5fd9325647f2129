import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.history.atomic import write_new
from olla_tui.history.export import export, file_stem, from_json, to_html, to_json, to_markdown
from olla_tui.state.conversation import Conversation
from olla_tui.state.drafts import Draft, MediaPart, TextFile
from server.errors import InvalidRequest, StoreError
from server.types.generation import Chunk, Completed


def chat_of(question: str, answer: str, again: str = "") -> Conversation:
    chat = Conversation(id="1", model="spark:latest", system="Be brief.", think="low", options={"top_k": 5})
    chat.ask(question, 1, draft=Draft(question, (TextFile("a.py", "x"),), (MediaPart("p.png", b"\x89PNG"),)))
    for text in (answer, again):
        if text:
            chat.drop_answer()
            chat.begin_answer(2)
            chat.add(Chunk(content=text, thinking="Hm"), 3)
            chat.complete(Completed(reason="stop"), 4)
    return chat


TEXT = st.text(min_size=1, max_size=60)


@given(TEXT, TEXT, TEXT)
def test_a_chat_comes_back_from_json_with_all_its_branches(question, answer, again):
    chat = chat_of(question, answer, again)
    back = from_json(to_json(chat).encode("utf-8", "surrogatepass"), "2")
    assert (back.id, back.turns, dict(back.aside)) == ("2", chat.turns, dict(chat.aside))
    assert (back.title, back.model, back.system, back.think, back.options) == (
        chat.title,
        chat.model,
        chat.system,
        chat.think,
        chat.options,
    )
    assert back.aside.siblings(back.turns[1]) == chat.aside.siblings(chat.turns[1])


def test_markdown_is_for_people():
    text = to_markdown(chat_of("Why?", "**Because.**"))
    assert text.startswith("# Why?\n\nspark:latest") and "> System: Be brief." in text
    assert "## You\n\n*a.py*\n\n*p.png*\n\nWhy?\n\n## spark:latest\n\n<details>" in text
    assert text.endswith("**Because.**\n")


def test_html_lets_nothing_through():
    page = to_html(chat_of("<script>alert(1)</script>", '"><img src=x>'))
    assert "<script" not in page and "<img src=x" not in page and "&lt;script&gt;" in page
    assert 'src="data:image/png;base64,iVBORw=="' in page


def broken(**changes: object) -> bytes:
    whole = json.loads(to_json(chat_of("a", "b")))
    return json.dumps({**whole, **changes}).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not json", "no chat that olla has written"),
        (b"[]", "no chat that olla has written"),
        (broken(olla_chat=99), "newer olla"),
        (broken(shown=[7]), "a shown turn is missing"),
        (broken(shown=[2, 1]), "do not follow"),
        (broken(turns=[{"key": 1, "role": "user"}] * 2), "same key"),
        (broken(turns=[{"key": 1, "parent": 2, "role": "user"}]), "follows a later one"),
    ],
)
def test_what_is_no_chat_is_refused(data, reason):
    with pytest.raises(InvalidRequest, match=reason):
        from_json(data, "2")


def test_a_file_is_never_written_over(tmp_path):
    path = tmp_path / "deep" / "chat.md"
    write_new(path, "one")
    with pytest.raises(StoreError, match="is there already"):
        write_new(path, "two")
    assert path.read_text() == "one" and [entry.name for entry in path.parent.iterdir()] == ["chat.md"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("title", "stem"),
    [("Why is it so?", "why-is-it-so"), ("../../etc", "etc"), ("東京", "東京"), ("", "new-chat")],
)
def test_file_names(title, stem):
    assert file_stem(Conversation(id="1", title=title)) == stem


def test_formats():
    chat = chat_of("a", "b")
    assert [export(chat, name)[:2] for name in ("md", "json", "html")] == ["# ", "{\n", "<!"]
