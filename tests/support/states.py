"""Conversations that are kept beside the slots: where, and what of them is there."""

from __future__ import annotations

from pathlib import Path

from server.engine.context import Context
from server.engine.idle_saving import IdleSaver
from server.engine.loading import Engine
from server.engine.state_store import StateStore
from server.types.generation import StateCacheParams

MIB = 1 << 20
TOPICS = ("the sea", "a red fox", "old stones", "the night sky")


def conversation(topic: str, n_turns: int) -> str:
    """A ChatML prompt of about 110 tokens a turn."""
    text = ""
    for turn in range(n_turns):
        text += f"<|im_start|>user\nTell me more about {topic}, part {turn}." + f" I like {topic}." * 12
        text += f"<|im_end|>\n<|im_start|>assistant\nHere is part {turn} about {topic}.<|im_end|>\n"
    return text + f"<|im_start|>user\nWhat is {topic}?<|im_end|>\n<|im_start|>assistant\n"


def in_memory(host_bytes: int = 64 * MIB) -> StateCacheParams:
    return StateCacheParams(host_bytes=host_bytes)


def on_disk(folder: Path, disk_bytes: int = 64 * MIB) -> StateCacheParams:
    return StateCacheParams(disk_bytes=disk_bytes, disk_folder=str(folder), model_key="spark")


def both(folder: Path, n_bytes: int = 64 * MIB, disk_bytes: int | None = None) -> StateCacheParams:
    return StateCacheParams(
        host_bytes=n_bytes,
        disk_bytes=n_bytes if disk_bytes is None else disk_bytes,
        disk_folder=str(folder),
        model_key="spark",
    )


def parts(engine: Engine) -> tuple[StateStore, IdleSaver, Context]:
    assert engine.generator is not None
    return engine.generator._states, engine.generator.saver, engine.context


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kv"))
