"""Random work on a model store: uploads, creates, copies, deletes, collections of garbage.

For tests of what stays whole when several do it at once, and when they are killed in the middle.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from server.errors import BlobNotFound, ModelNotFound
from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.names import ModelName
from tests.support.stores import digest_of
from tests.support.tiny_gguf import gguf_bytes

CONFIG = ModelConfig(model_format="gguf", model_family="llama")
SHARED = 50
"""Whose weights all workers upload."""
LONG_AFTER_S = 30 * 24 * 3600.0
"""A collection that looks from so far in the future spares nothing for its age."""


def weights_of(owner: int, number: int) -> bytes:
    """A small GGUF file."""
    return gguf_bytes({"general.architecture": "llama", "x.owner": owner, "x.number": number}) + bytes(
        200_000
    )


class Churn:
    """One worker. `names`: how many model names all workers share."""

    def __init__(self, root: Path, number: int, *, seed: int, names: int = 4) -> None:
        self.store = ModelStore(root)
        self._number = number
        self._random = random.Random(f"{number} {seed}")
        self._names = names
        self.n_made = 0

    def step(self) -> None:
        """Do one thing. Raises: AssertionError when something that was needed is gone."""
        choice = self._random.random()
        try:
            if choice < 0.45:
                self.create()
            elif choice < 0.6:
                self.store.delete(self._name())
            elif choice < 0.75:
                self.store.copy(self._name(), self._name())
            elif choice < 0.95:
                self.store.collect_garbage(0, now_s=time.time() + LONG_AFTER_S)
            else:
                self.store.prune(time.time() + LONG_AFTER_S)
        except ModelNotFound:
            return

    def create(self) -> None:
        """Upload as a client does, let others go on, then make a model; others may upload the same."""
        data = weights_of(self._random.choice((self._number, SHARED)), self._random.randrange(3))
        digest = digest_of(data)
        if not self.store.hold_blob(digest):
            with self.store.open_blob_writer() as writer:
                for start in range(0, len(data), 1 << 16):
                    writer.write(data[start : start + (1 << 16)])
                self.store.pin(digest)
                writer.commit(digest)
        if self._random.random() < 0.3:
            self.store.collect_garbage(0, now_s=time.time() + LONG_AFTER_S)
        if self._random.random() < 0.2:
            return  # the client has changed its mind
        try:
            with self.store.changing():
                text = f"shared {self._random.randrange(3)}".encode()
                layers = [
                    Layer("model", digest, len(data)),
                    Layer("system", self.store.put_bytes(text).digest, len(text)),
                ]
                name = self._name()
                self.store.write_model(name, CONFIG, layers)
                self.store.unpin([digest])
                assert self.store.find(name).is_complete
        except BlobNotFound as error:
            raise AssertionError(f"a blob in flight was removed: {error}") from error
        self.n_made += 1

    def _name(self) -> ModelName:
        return ModelName.parse(f"m{self._random.randrange(self._names)}")
