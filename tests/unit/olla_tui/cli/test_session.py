"""What a conversation knows and asks for."""

from __future__ import annotations

import pytest

from olla_tui.cli.session import Session, parse_format, parse_think
from server.errors import InvalidFormat, InvalidRequest
from server.types.generation import Think
from server.types.messages import Message
from server.types.models import Capability, ModelDetails, ModelInfo

USER = Message(role="user", content="Hi")


def info(*capabilities: Capability, parent: str = "") -> ModelInfo:
    return ModelInfo(
        name="m",
        modelfile="",
        details=ModelDetails(parent_model=parent),
        capabilities=capabilities,
        messages=(USER,),
    )


def test_a_model_that_can_think_thinks_unless_told_otherwise() -> None:
    session = Session("m")
    thinks: list[Think] = []
    for capabilities in (info("completion", "thinking"), info("completion")):
        session.adopt(capabilities)
        thinks.append(session.think)
    assert thinks == [True, None]
    told = Session("m", think=False, think_is_set=True)
    told.adopt(info("thinking"))
    assert told.think is False


def test_the_system_message_replaces_one_that_nothing_followed() -> None:
    session = Session("m")
    session.set_system("a")
    session.set_system("b")
    assert [message.content for message in session.messages] == ["b"]
    session.messages.append(USER)
    session.set_system("c")
    assert [message.content for message in session.messages] == ["b", "Hi", "c"]
    session.clear()
    assert [(message.role, message.content) for message in session.messages] == [("system", "c")]


def test_another_model_begins_a_new_conversation_and_leaves_this_one() -> None:
    session = Session("m", messages=[USER], options={"seed": 1}, verbose=True)
    moved = session.moved_to("n")
    moved.options["seed"] = 2
    moved.messages.append(USER)
    assert (moved.model, moved.verbose, session.options, len(session.messages)) == ("n", True, {"seed": 1}, 1)


def test_a_saved_conversation_is_based_on_the_parent() -> None:
    session = Session("m")
    session.adopt(info(parent="base"))
    session.messages.append(Message(role="assistant", content="Yo"))
    session.options["seed"] = 1
    request = session.create_request("new")
    assert (request.model, request.base, request.parameters) == ("new", "base", {"seed": 1})
    assert [message.content for message in request.messages] == ["Hi", "Yo"]
    session.parent_model = "/not a name"
    assert session.create_request("new").base == "m"


@pytest.mark.parametrize(
    ("text", "think"),
    [(None, None), ("", True), ("true", True), ("false", False), ("high", "high"), ("max", "max")],
)
def test_think(text: str | None, think: Think) -> None:
    assert parse_think(text) == think


def test_think_refuses() -> None:
    with pytest.raises(InvalidRequest, match='"hard"'):
        parse_think("hard")


def test_format() -> None:
    assert (parse_format(""), parse_format("json")) == (None, "json")
    assert parse_format('{"type": "object"}') == {"type": "object"}
    for text in ("yaml", "[1]"):
        with pytest.raises(InvalidFormat, match="--format"):
            parse_format(text)
