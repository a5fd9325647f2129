"""Frames survive any cutting of the stream, and what is no frame is refused."""

from __future__ import annotations

import os
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ipc import framing
from server.ipc.messages import Abort, Bye, Hello, Step, StepStats, Submit, Text, TokenDelta, Tokenize
from server.types.generation import SamplingParams

TO_ENGINE = [
    Abort(7),
    Tokenize(request_id=1, texts=("", "déjà vu", "😀")),
    Submit(request_id=2, prompt=("text", (1, 2, 3)), sampling=SamplingParams(stop=("END",)), emitted=(5, 6)),
]
FROM_ENGINE = [
    Hello(version=1, pid=2, llama_build="x"),
    Step(
        (TokenDelta(request_id=1, tokens=(1, 2), text="hi"),),
        StepStats(n_busy_slots=1, n_kv_tokens=3),
    ),
    Text(request_id=3, text="\n"),
    Bye(),
]


@given(
    payloads=st.lists(st.binary(max_size=40), max_size=8),
    cuts=st.lists(st.integers(min_value=1, max_value=9), min_size=1),
)
def test_any_cutting_of_the_stream_gives_the_same_payloads(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(struct.pack("<I", len(payload)) + payload for payload in payloads)
    decoder = framing.FrameDecoder()
    found: list[bytes] = []
    position = 0
    turn = 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        found += decoder.feed(stream[position : position + size])
        position += size
        turn += 1
    decoder.finish()
    assert found == payloads


@pytest.mark.parametrize("message", TO_ENGINE, ids=lambda message: type(message).__name__)
def test_messages_to_the_engine_come_back_equal(message: Submit) -> None:
    (payload,) = framing.FrameDecoder().feed(framing.encode(message))
    assert framing.decode(payload, framing.TO_ENGINE) == message


@pytest.mark.parametrize("message", FROM_ENGINE, ids=lambda message: type(message).__name__)
def test_messages_from_the_engine_come_back_equal(message: Bye) -> None:
    (payload,) = framing.FrameDecoder().feed(framing.encode(message))
    assert framing.decode(payload, framing.FROM_ENGINE) == message


@pytest.mark.parametrize("n_kept", [1, 3, 4, 5])
def test_a_stream_that_ends_in_a_frame_is_broken(n_kept: int) -> None:
    frame = framing.encode(Text(request_id=3, text="x"))
    decoder = framing.FrameDecoder()
    assert decoder.feed(frame[:n_kept]) == []
    with pytest.raises(framing.BrokenFrame, match="middle of a frame"):
        decoder.finish()

    read_fd, write_fd = os.pipe()
    try:
        os.write(write_fd, frame[:n_kept])
        os.close(write_fd)
        with pytest.raises(framing.BrokenFrame, match="middle of a frame"):
            framing.read_frame(read_fd)
    finally:
        os.close(read_fd)


def test_a_payload_of_header_size_that_is_missing_is_broken() -> None:
    decoder = framing.FrameDecoder()
    assert decoder.feed(struct.pack("<I", 4)) == []
    with pytest.raises(framing.BrokenFrame, match="middle of a frame"):
        decoder.finish()


def test_a_length_out_of_bounds_is_refused_at_once() -> None:
    header = struct.pack("<I", framing.MAX_FRAME_BYTES + 1)
    with pytest.raises(framing.BrokenFrame, match="longer than the bound"):
        framing.FrameDecoder().feed(header)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x81\xa4type\xa7Unknown", b"\x93\x01\x02\x03"])
def test_an_unknown_message_is_broken(payload: bytes) -> None:
    with pytest.raises(framing.BrokenFrame, match="cannot be read"):
        framing.decode(payload, framing.TO_ENGINE)


def test_a_frame_longer_than_the_pipe_arrives_whole() -> None:
    message = Text(request_id=1, text="x" * 1_000_000)
    read_fd, write_fd = os.pipe()

    def write() -> None:
        framing.write_frame(write_fd, message)
        os.close(write_fd)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        payload = framing.read_frame(read_fd)
        assert payload is not None
        assert framing.decode(payload, framing.FROM_ENGINE) == message
        assert framing.read_frame(read_fd) is None
    finally:
        writer.join()
        os.close(read_fd)
