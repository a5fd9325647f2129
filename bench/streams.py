"""Many streams at once: is every token there once and in order, and how long are the gaps?

    python bench/streams.py [--model 60m.gguf] [--streams 200] [--tokens 32] [--slots 32] [--rounds 3]

Each answer is asked for with log probabilities, which name every token: joined they must be the text, and
their number the one that the server counts. Gaps are those between two pieces of one stream, as they come out
of the socket; a step is the median gap of all streams.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

from peers import BENCH_MODEL, Figures, Olla, letters, print_table, rounds_of

BUNDLED = Path(__file__).parents[1] / "server" / "bundled"
N_PROMPT = 24


class Stream(NamedTuple):
    """One answer: when its lines came, and what they were."""

    stamps: list[float]
    lines: list[bytes]


async def stream(port: int, index: int, n_tokens: int) -> Stream:
    """Ask and read lines as they come, without looking at them, so that the client takes little time."""
    body = json.dumps(
        {
            "model": BENCH_MODEL,
            "prompt": f"{index} {letters(N_PROMPT)}",
            "raw": True,
            "logprobs": True,
            "options": {"num_predict": n_tokens, "ignore_eos": True, "seed": index, "draft_num_predict": 0},
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = (
        f"POST /api/generate HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}"
    )
    writer.write(head.encode() + b"\r\n\r\n" + body)
    stamps: list[float] = []
    lines: list[bytes] = []
    while line := await reader.readline():
        if line.startswith(b"{"):
            stamps.append(time.perf_counter())
            lines.append(line)
    writer.close()
    await writer.wait_closed()
    return Stream(stamps, lines)


def is_exact(lines: list[bytes], n_tokens: int) -> bool:
    """Whether no token is lost, doubled or out of place."""
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    text = "".join(record["response"] for record in records)
    named = [token for record in records for token in record.get("logprobs") or ()]
    joined = b"".join(bytes(token["bytes"]) for token in named).decode("utf-8", "replace")
    last = records[-1]
    return last["done"] and last["eval_count"] == len(named) == n_tokens and joined == text


def figures(server: Olla, n_streams: int, n_tokens: int) -> Figures:
    port = int(server.url.rsplit(":", 1)[1])

    async def all_of_them() -> list[Stream]:
        return await asyncio.gather(*(stream(port, index, n_tokens) for index in range(n_streams)))

    begin_s = time.perf_counter()
    streams = asyncio.run(all_of_them())
    taken_s = time.perf_counter() - begin_s
    gaps = sorted(b - a for one in streams for a, b in zip(one.stamps, one.stamps[1:], strict=False))
    step_s = statistics.median(gaps)
    p99_s = gaps[int(0.99 * len(gaps))]
    n_broken = sum(not is_exact(one.lines, n_tokens) for one in streams)
    return {
        "tok/s": n_streams * n_tokens / taken_s,
        "step, ms": 1e3 * step_s,
        "gap p99, ms": 1e3 * p99_s,
        "gap p99 / step": p99_s / step_s,
        "streams not exact": float(n_broken),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=BUNDLED / "spark.gguf")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    def olla() -> Figures:
        return figures(server, given.streams, given.tokens)

    with Olla(given.model, n_slots=given.slots, n_ctx=512) as server:
        figures(server, 8, 8)
        print_table(f"{given.streams} streams", rounds_of({"olla": olla}, given.rounds))


if __name__ == "__main__":
    main()
