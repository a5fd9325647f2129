"""Requests whose pictures and sounds are being encoded, on a thread beside the one that decodes."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from server.engine.failures import NoMemory
from server.engine.media import Media, MediaCache
from server.ipc.messages import Submit
from server.types.generation import MediaFile

CACHE_BYTES: Final = 256 * 1024 * 1024
"""What projectors made of files is kept up to this size: 40 pictures of 576 tokens in a model of 2,560."""


class MediaReady(msgspec.Struct, frozen=True, eq=False):
    """What was made of the files of a request, in order, or why it was not."""

    submit: Submit
    media: tuple[Media, ...] = ()
    error: Exception | None = None


class Encoder(Protocol):
    """What turns a file into what stands for it in a prompt. Raises: EngineFailure."""

    def encode(self, data: bytes) -> Media: ...


class MediaIntake:
    """Takes requests with files and hands them on when their files are encoded.

    One file is encoded at a time, in the order of requests. What was made of a file is kept for the next
    request with the same one.
    """

    def __init__(
        self, encoder: Encoder, done: Callable[[MediaReady], None], *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        """`done`: is called on the thread with each request that was not forgotten."""
        self._encoder = encoder
        self._done = done
        self._cache = MediaCache(cache_bytes)
        self._lock = threading.Lock()
        self._open: dict[int, Submit] = {}
        self._jobs: queue.SimpleQueue[Submit | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="media", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a request waits for its files."""
        with self._lock:
            return bool(self._open)

    def take(self, message: Submit) -> None:
        """Encode the files of a request."""
        with self._lock:
            self._open[message.request_id] = message
        self._jobs.put(message)

    def take_back(self, ready: MediaReady) -> bool:
        """The request goes on elsewhere. False: it was forgotten meanwhile."""
        with self._lock:
            if self._open.get(ready.submit.request_id) is not ready.submit:
                return False
            del self._open[ready.submit.request_id]
            return True

    def forget(self, request_id: int) -> bool:
        """A request was cancelled. False: it does not wait here."""
        with self._lock:
            return self._open.pop(request_id, None) is not None

    def forget_all(self) -> tuple[int, ...]:
        """All requests were cancelled; returns their ids."""
        with self._lock:
            request_ids = tuple(self._open)
            self._open.clear()
            return request_ids

    def close(self) -> None:
        """End the thread, after the file that it works on."""
        self.forget_all()
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (message := self._jobs.get()) is not None:
            if not self._is_open(message):
                continue
            try:
                ready = MediaReady(message, self._encoded(message))
            except MemoryError:
                no_room = NoMemory("there is not enough memory for a picture or sound")
                ready = MediaReady(message, error=no_room)
            except Exception as error:  # it costs this request; without the thread all later ones would wait
                ready = MediaReady(message, error=error)
            self._done(ready)

    def _encoded(self, message: Submit) -> tuple[Media, ...]:
        """What was made of the files; of nothing more once the request is cancelled."""
        media: list[Media] = []
        for piece in message.prompt:
            if not isinstance(piece, MediaFile):
                continue
            digest = hashlib.sha256(piece.data).digest()
            known = self._cache.get(digest)
            if known is None:
                if not self._is_open(message):
                    break
                known = self._encoder.encode(piece.data)
                self._cache.put(digest, known)
            media.append(known)
        return tuple(media)

    def _is_open(self, message: Submit) -> bool:
        with self._lock:
            return self._open.get(message.request_id) is message


def has_files(message: Submit) -> bool:
    """Whether there are pictures or sounds in the prompt."""
    return any(isinstance(piece, MediaFile) for piece in message.prompt)
