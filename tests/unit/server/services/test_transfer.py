from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from server.services.transfer import Transfer
from server.types.names import ModelName
from server.types.transfers import TransferProgress, TransferRequest

DIGEST = "sha256:" + "a" * 64


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def transfer(clock: Clock | None = None) -> Transfer:
    return Transfer(
        1,
        "pull",
        ModelName.parse("m"),
        TransferRequest(model="m"),
        clock=clock or Clock(),
        started_at=0.0,
    )


async def told(subject: Transfer) -> list[TransferProgress]:
    return [line async for line in subject.lines()]


async def test_who_comes_late_gets_every_line_with_its_latest_numbers() -> None:
    subject = transfer()
    subject.tell("pulling manifest")
    subject.tell_bytes("pulling", DIGEST, 10, 4)
    early = asyncio.create_task(told(subject))
    await asyncio.sleep(0)
    subject.tell_bytes("pulling", DIGEST, 10, 10)
    await asyncio.sleep(0)
    subject.tell("success")
    subject.end("done")
    half = TransferProgress("pulling aaaaaaaaaaaa", DIGEST, 10, 4)
    whole = TransferProgress("pulling aaaaaaaaaaaa", DIGEST, 10, 10)
    first, last = TransferProgress("pulling manifest"), TransferProgress("success")
    assert await early == [first, half, whole, last]
    assert await told(subject) == [first, whole, last]


@given(st.lists(st.integers(0, 100)))
def test_numbers_never_go_back(numbers: list[int]) -> None:
    async def run() -> None:
        subject, shown = transfer(), [0]
        for number in numbers:
            subject.tell_bytes("pulling", DIGEST, 100, number)
            shown.append(subject.completed_bytes)
        assert shown == sorted(shown)
        assert shown[-1] == max(numbers, default=0)

    asyncio.run(run())


async def test_the_rate_is_that_of_the_last_seconds_and_tells_what_is_left() -> None:
    clock = Clock()
    subject = transfer(clock)
    subject.state, subject.total_bytes = "running", 10_000
    for step in range(21):
        subject.tell_bytes("pulling", DIGEST, 10_000, 100 * step)
        clock.now_s += 0.5
    info = subject.info()
    assert 150 <= info.bytes_per_s <= 200
    assert info.remaining_s == (10_000 - 2000) / info.bytes_per_s
    assert info.status == "pulling aaaaaaaaaaaa"
    clock.now_s += 60
    assert subject.info().bytes_per_s < 50
    subject.state = "paused"
    assert (subject.info().bytes_per_s, subject.info().remaining_s) == (0.0, None)
