"""Requests that wait for their files."""

from __future__ import annotations

import queue

from server.engine.failures import NoMemory
from server.engine.media import Media
from server.engine.media_intake import MediaIntake, MediaReady
from server.ipc.messages import Submit
from server.types.generation import MediaFile, SamplingParams


class Encoder:
    """Fails in the way that a file asks for."""

    def encode(self, data: bytes) -> Media:
        if data == b"fault":
            raise ZeroDivisionError("of all things")
        if data == b"memory":
            raise MemoryError
        return ()


def test_a_fault_nobody_expected_costs_one_request() -> None:
    done: queue.SimpleQueue[MediaReady] = queue.SimpleQueue()
    intake = MediaIntake(Encoder(), done.put)
    for request_id, data in enumerate((b"fault", b"memory", b"sound"), 1):
        intake.take(Submit(request_id=request_id, prompt=(MediaFile(data),), sampling=SamplingParams()))
    fault, memory, sound = (done.get(timeout=30) for _ in range(3))
    assert isinstance(fault.error, ZeroDivisionError)
    assert isinstance(memory.error, NoMemory)
    assert sound.error is None and sound.media == ((),)
    intake.close()
