"""Every message is written once and in order, and text waits only where more text follows soon."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from server.engine.outbox import TEXT_EVERY_S, Outbox
from server.ipc.framing import FROM_ENGINE, FrameDecoder, decode
from server.ipc.messages import EngineTimings, Finished, FromEngine, Step, StepStats, TokenDelta


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Reader:
    """The other end of an outbox."""

    def __init__(self) -> None:
        self._fd, self.write_fd = os.pipe()
        os.set_blocking(self._fd, False)
        self._frames = FrameDecoder()

    def read(self) -> list[FromEngine]:
        """What was written since the last time."""
        try:
            data = os.read(self._fd, 1 << 20)
        except BlockingIOError:
            return []
        return [decode(payload, FROM_ENGINE) for payload in self._frames.feed(data)]

    def close(self) -> None:
        os.close(self._fd)
        os.close(self.write_fd)


def text(number: int, *, begins: bool = False) -> Step:
    begun = EngineTimings(n_prompt_tokens=1) if begins else None
    delta = TokenDelta(request_id=1, tokens=(number,), text=str(number), begun=begun)
    return Step((delta,), StepStats(n_busy_slots=number))


def end(number: int) -> Finished:
    return Finished(request_id=number, reason="stop", timings=EngineTimings(n_output_tokens=number))


def test_text_waits_for_text_that_follows_soon() -> None:
    reader, clock = Reader(), Clock()
    outbox = Outbox(reader.write_fd, clock)
    outbox.send_soon(text(1, begins=True))
    assert reader.read() == [text(1, begins=True)]
    clock.now_s += TEXT_EVERY_S / 2
    outbox.send_soon(text(2))
    assert reader.read() == []
    clock.now_s += TEXT_EVERY_S
    outbox.send_soon(text(3))
    assert reader.read() == [text(2), text(3)]
    outbox.send_soon(text(4))
    outbox.send_soon(text(5), end(1))  # the end of a request waits for nothing
    assert reader.read() == [text(4), text(5), end(1)]
    outbox.send_soon(text(6))
    outbox.send()
    assert reader.read() == [text(6)]
    outbox.send_soon(text(7))
    outbox.send_soon(text(8, begins=True))  # nor does a first token
    assert reader.read() == [text(7), text(8, begins=True)]
    reader.close()


@given(
    st.lists(
        st.tuples(st.sampled_from(["text", "begin", "end", "now"]), st.floats(0, 2 * TEXT_EVERY_S)),
        max_size=40,
    )
)
def test_nothing_is_lost_or_overtaken(events: list[tuple[str, float]]) -> None:
    reader, clock = Reader(), Clock()
    outbox = Outbox(reader.write_fd, clock)
    sent: list[FromEngine] = []
    read: list[FromEngine] = []
    for number, (kind, seconds) in enumerate(events):
        clock.now_s += seconds
        message = end(number) if kind in ("end", "now") else text(number, begins=kind == "begin")
        sent.append(message)
        if kind == "now":
            outbox.send(message)
        else:
            outbox.send_soon(message)
        read += reader.read()
        assert read == sent[: len(read)]
        assert kind == "text" or read == sent
    outbox.send()
    assert read + reader.read() == sent
    reader.close()
