"""Memory is read by all threads together, and the best pass counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.hardware import bandwidth
from server.hardware.bandwidth import read_bandwidth_bytes_per_s


def test_the_best_pass_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "_BYTES_PER_THREAD", 8000)
    times: Iterator[float] = iter([0.0, 4.0, 10.0, 12.0, 20.0, 21.0, 30.0, 38.0, 40.0, 43.0])
    assert read_bandwidth_bytes_per_s(3, clock=lambda: next(times)) == 24000.0
