"""What `olla run` knows of the conversation it holds. No input or output."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from server.errors import InvalidFormat, InvalidModelName, InvalidRequest
from server.types.generation import ChatRequest, Format, GenerateRequest, Origin, Think
from server.types.messages import Message
from server.types.models import CreateRequest, ModelInfo
from server.types.names import ModelName
from server.types.quoting import go_quote

ORIGIN = Origin(route="run", client="olla")


@dataclass
class Session:
    """Model, conversation and switches.

    Attributes:
        think: None: as the model's default.
        think_is_set: whether the user said something about thinking, which a change of model then keeps.
        loaded_messages: messages stored with the model, which the server puts in front by itself.
        options: by Ollama's names, over those of the model.
    """

    model: str
    think: Think = None
    think_is_set: bool = False
    hide_thinking: bool = False
    word_wrap: bool = True
    verbose: bool = False
    format: Format = None
    keep_alive_s: float | None = None
    system: str = ""
    messages: list[Message] = field(default_factory=list)
    loaded_messages: tuple[Message, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    parent_model: str = ""
    takes_media: bool = False
    can_think: bool = False

    def adopt(self, info: ModelInfo) -> None:
        """Take over what the server tells of the model."""
        self.parent_model = info.details.parent_model
        self.loaded_messages = info.messages
        self.takes_media = bool({"vision", "audio"} & set(info.capabilities)) or bool(info.projector_info)
        self.can_think = "thinking" in info.capabilities
        if not self.think_is_set:
            self.think = True if self.can_think else None

    def moved_to(self, model: str) -> Session:
        """A new conversation with another model under the same switches."""
        moved = copy(self)
        moved.model, moved.messages, moved.loaded_messages = model, [], ()
        moved.options = dict(self.options)
        return moved

    def set_system(self, text: str) -> None:
        """Set the system message from here on; one that nothing was said after is replaced."""
        self.system = text
        if self.messages and self.messages[-1].role == "system":
            self.messages.pop()
        self.messages.append(Message(role="system", content=text))

    def clear(self) -> None:
        """Forget the conversation, and keep the system message."""
        self.messages = [Message(role="system", content=self.system)] if self.system else []

    def chat_request(self) -> ChatRequest:
        """The request for an answer to the conversation."""
        return ChatRequest(
            model=self.model,
            messages=tuple(self.messages),
            format=self.format,
            think=self.think,
            options=self.options,
            keep_alive_s=self.keep_alive_s,
            origin=ORIGIN,
        )

    def generate_request(self, prompt: str, images: tuple[bytes, ...] = ()) -> GenerateRequest:
        """The request for one answer; without a prompt, for a load."""
        return GenerateRequest(
            model=self.model,
            prompt=prompt,
            images=images,
            format=self.format,
            think=self.think,
            options=self.options,
            keep_alive_s=self.keep_alive_s,
            origin=ORIGIN,
        )

    def load_request(self) -> GenerateRequest:
        """The request that loads the model, and fails where it cannot think and should."""
        return GenerateRequest(
            model=self.model, think=self.think, keep_alive_s=self.keep_alive_s, origin=ORIGIN
        )

    def create_request(self, name: str) -> CreateRequest:
        """The request that stores this conversation as a model."""
        return CreateRequest(
            model=name,
            base=self.parent_model if _is_name(self.parent_model) else self.model,
            system=self.system,
            parameters=self.options,
            messages=(*self.loaded_messages, *self.messages),
        )


def _is_name(text: str) -> bool:
    try:
        ModelName.parse(text)
    except InvalidModelName:
        return False
    return True


THINK_VALUES: dict[str, Think] = {
    "": True,
    "true": True,
    "false": False,
    "high": "high",
    "medium": "medium",
    "low": "low",
    "max": "max",
}


def parse_think(text: str | None) -> Think:
    """Value of `--think`. Raises: InvalidRequest in Ollama's words."""
    if text is None:
        return None
    if text not in THINK_VALUES:
        raise InvalidRequest(
            f"invalid value for --think: {go_quote(text)} (must be true, false, high, medium, low, or max)"
        )
    return THINK_VALUES[text]


def parse_format(text: str) -> Format:
    """Value of `--format`: nothing, "json", or a JSON schema. Raises: InvalidFormat."""
    if text in ("", "json"):
        return "json" if text else None
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise InvalidFormat(f"--format is neither json nor a JSON schema: {error}") from None
    if not isinstance(schema, dict):
        raise InvalidFormat("--format is neither json nor a JSON schema: a schema is a JSON object")
    return schema
