"""The commands inside a conversation, against a server."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from olla_tui.cli import help_texts
from olla_tui.cli.session import Session
from olla_tui.cli.slash import Outcome, SlashCommands
from olla_tui.client.remote import RemoteServices
from server.errors import EngineError
from server.types.messages import Message
from tests.support.json_server import JsonServer, Reply

SHOW = {
    "details": {"family": "llama", "parent_model": "base"},
    "model_info": {"general.architecture": "llama"},
    "modelfile": "FROM base",
    "parameters": 'stop                           "x"',
    "capabilities": ["completion"],
}
LOADED = {"model": "m", "response": "", "done": True, "done_reason": "load"}
NOT_FOUND = Reply(404, {"error": "model 'n' not found"})


class Room:
    """A conversation with its screen and its server."""

    def __init__(self, server: JsonServer) -> None:
        self.server = server
        self.out, self.err = io.StringIO(), io.StringIO()
        self.services = RemoteServices.at(server.url)
        self.commands = SlashCommands(
            Session("m"), self.services, out=self.out, err=self.err, clock=lambda: 1e9
        )

    @property
    def session(self) -> Session:
        return self.commands.session

    async def type(self, line: str) -> str:
        """Run a command; what it printed, stderr behind stdout."""
        assert await self.commands.run(line) is Outcome.DONE
        text = self.out.getvalue() + self.err.getvalue()
        self.out.truncate(self.out.seek(0))
        self.err.truncate(self.err.seek(0))
        return text


@pytest.fixture
async def room() -> AsyncGenerator[Room, None]:
    replies: dict[str, Reply | list[Reply]] = {
        "POST /api/show": Reply(body=SHOW),
        "POST /api/generate": Reply(body=LOADED),
        "POST /api/create": Reply(lines=({"status": "success"},)),
    }
    with JsonServer(replies).running() as server:
        room = Room(server)
        yield room
        await room.services.aclose()


@pytest.mark.parametrize("line", ["/bye", "/exit", "/byebye"])
async def test_leaving(room: Room, line: str) -> None:
    assert await room.commands.run(line) is Outcome.QUIT


async def test_unknown_commands(room: Room) -> None:
    assert await room.type("/nope now") == "Unknown command '/nope'. Type /? for help\n"
    assert await room.type("/set nope") == "Unknown command '/set nope'. Type /? for help\n"
    assert await room.type("/show nope") == "Unknown command '/show nope'. Type /? for help\n"


async def test_a_path_is_a_prompt_where_pictures_are_taken(room: Room) -> None:
    room.session.takes_media = True
    assert await room.commands.run("/tmp/cat.png what is this?") is Outcome.PROMPT
    assert await room.commands.run("/unknown thing") is Outcome.DONE


async def test_switches(room: Room) -> None:
    assert await room.type("/set verbose") == "Set 'verbose' mode.\n"
    assert await room.type("/set nowordwrap") == "Set 'nowordwrap' mode.\n"
    assert await room.type("/set format json") == "Set format to 'json' mode.\n"
    session = room.session
    assert (session.verbose, session.word_wrap, session.format) == (True, False, "json")
    assert await room.type("/set quiet") == "Set 'quiet' mode.\n"
    assert await room.type("/set wordwrap") == "Set 'wordwrap' mode.\n"
    assert await room.type("/set noformat") == "Disabled format.\n"
    assert (session.verbose, session.word_wrap, session.format) == (False, True, None)
    wrong = "Invalid or missing format. For 'json' mode use '/set format json'\n"
    assert await room.type("/set format yaml") == wrong
    assert await room.type("/set nohistory") == ""
    assert not room.commands.keeps_history


async def test_thinking(room: Room) -> None:
    warning = 'warning: model "m" does not support thinking output\n'
    assert await room.type("/set think") == f"Set 'think' mode.\n{warning}"
    room.session.can_think = True
    assert await room.type("/set think high") == "Set 'think' mode to 'high'.\n"
    assert (room.session.think, room.session.think_is_set) == ("high", True)
    assert await room.type("/set nothink") == "Set 'nothink' mode.\n"
    assert room.session.think is False


async def test_parameters(room: Room) -> None:
    assert await room.type("/set parameter stop a b") == "Set parameter 'stop' to 'a, b'\n"
    assert await room.type("/set parameter temperature 0.5") == "Set parameter 'temperature' to '0.5'\n"
    unknown = "Couldn't set parameter: \"unknown parameter 'nosuch'\"\n"
    assert await room.type("/set parameter nosuch 1") == unknown
    assert "Couldn't set parameter" in await room.type("/set parameter seed x")
    assert await room.type("/set parameter seed") == help_texts.PARAMETERS
    assert room.session.options == {"stop": ("a", "b"), "temperature": 0.5}
    assert await room.type("/show parameters") == (
        'Model defined parameters:\n  stop                           "x"\n\n'
        f"User defined parameters:\n  {'stop':<30} [a b]\n  {'temperature':<30} 0.5\n\n"
    )


async def test_show(room: Room) -> None:
    assert await room.type("/show modelfile") == "FROM base\n"
    assert await room.type("/show license") == "No license was specified for this model.\n"
    assert await room.type("/show template") == "No prompt template was specified for this model.\n"
    assert await room.type("/show system") == "No system message was specified for this model.\n"
    room.commands.set_system("Be brief.")
    assert await room.type("/show system") == "Set system message.\nBe brief.\n\n"
    assert room.server.asked[-1].body["system"] == "Be brief."
    assert (await room.type("/show info")).startswith("  Model\n    architecture    llama")


async def test_help(room: Room) -> None:
    assert await room.type("/?") == f"{help_texts.COMMANDS}\n"
    room.session.takes_media = True
    assert await room.type("/help") == f"{help_texts.COMMANDS}{help_texts.MEDIA}\n"
    assert await room.type("/? set") == help_texts.SET
    assert await room.type("/help /show") == help_texts.SHOW
    assert await room.type("/? shortcuts") == help_texts.SHORTCUTS
    assert await room.type("/set") == help_texts.SET
    assert await room.type("/set system") == help_texts.SET
    assert await room.type("/show") == help_texts.SHOW


async def test_load(room: Room) -> None:
    room.session.messages.append(Message(role="user", content="Hi"))
    assert await room.type("/load n") == "Loading model 'n'\n"
    assert (room.session.model, room.session.messages, room.session.parent_model) == ("n", [], "base")
    assert await room.type("/load") == "Usage:\n  /load <modelname>\n"


async def test_a_model_that_cannot_be_loaded_leaves_the_conversation(room: Room) -> None:
    room.session.messages.append(Message(role="user", content="Hi"))
    before = room.session
    room.server.replies["POST /api/show"] = NOT_FOUND
    assert await room.type("/load n") == "Loading model 'n'\nCouldn't find model 'n'\n"
    room.server.replies["POST /api/show"] = Reply(body=SHOW)
    room.server.replies["POST /api/generate"] = Reply(500, {"error": "no memory"})
    with pytest.raises(EngineError, match="no memory"):
        await room.commands.run("/load n")
    assert room.session is before
    assert len(before.messages) == 1


async def test_save(room: Room) -> None:
    room.commands.set_system("Be brief.")
    await room.type("/set parameter seed 3")
    assert await room.type("/save mine") == "Created new model 'mine'\n"
    body: dict[str, Any] = room.server.asked[-1].body
    assert (body["model"], body["from"], body["system"], body["parameters"]) == (
        "mine",
        "m",
        "Be brief.",
        {"seed": 3},
    )
    assert body["messages"] == [{"role": "system", "content": "Be brief."}]
    assert await room.type("/save") == "Usage:\n  /save <modelname>\n"
    assert await room.type("/save a/b/c/d/e") == "error: The model name 'a/b/c/d/e' is invalid\n"


async def test_clear_keeps_the_system_message(room: Room) -> None:
    room.commands.set_system("Be brief.")
    room.session.messages.append(Message(role="user", content="Hi"))
    assert (await room.type("/clear")).endswith("Cleared session context\n")
    assert [message.role for message in room.session.messages] == ["system"]


async def test_list(room: Room) -> None:
    models = [{"name": "a:1", "digest": "0" * 64, "size": 1500, "modified_at": "2001-09-09T00:46:40Z"}]
    room.server.replies["GET /api/tags"] = Reply(body={"models": models})
    assert (await room.type("/list")).splitlines()[
        1
    ] == "a:1     000000000000    1.5 KB    About an hour ago    "
    assert len((await room.type("/list b")).splitlines()) == 1
