"""What the engine spends on a token besides llama_decode: microseconds for each slot and token.

    python bench/per_token.py MODEL.gguf [--slots 8 16 32] [--tokens 96] [--rounds 3]

Runs the generator in this process, all slots decoding, and subtracts the time within llama_decode from that
of the steps. Choosing the token, its text, the frame to the server and the next step's plan are all in it.
What counts is processor time of the thread, so that other programs disturb the figures less.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from server.backends.process import worker_variables

if any(os.environ.get(name) != value for name, value in worker_variables().items()):
    # As in a worker: they are read when the process and its libraries are loaded.
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **worker_variables()})

from server.engine import native
from server.engine.generator import Generator
from server.engine.inbox import Inbox
from server.engine.loading import open_engine
from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.ipc.framing import encode
from server.ipc.messages import Finished, Submit
from server.types.generation import LoadParams, ModelPaths, SamplingParams

N_CTX = 2048
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "top_k 40, top_p 0.9": {"temperature": 0.8, "top_k": 40, "top_p": 0.9},
}


class DecodeClock:
    """Takes the place of `native.decode` and adds up the seconds within it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._decode = native.decode
        native.decode = self

    def __call__(self, *args: Any) -> int:
        begin = time.thread_time()
        code = self._decode(*args)
        self.seconds += time.thread_time() - begin
        return code


def us_per_slot_token(
    generator: Generator, clock: DecodeClock, n_slots: int, n_tokens: int, options: dict[str, Any]
) -> tuple[float, float]:
    """Microseconds besides llama_decode and in all, for each slot and token, the prompts not counted."""
    for index in range(n_slots):
        sampling = SamplingParams(seed=index, n_predict=n_tokens, ignore_eos=True, n_draft=0, **options)
        generator.submit(Submit(request_id=index, prompt=(f"{index} brown foxes",), sampling=sampling))
    besides, whole = [], []
    n_open = n_slots
    n_steps = 0
    while n_open:
        clock.seconds = 0.0
        begin = time.thread_time()
        messages = generator.step()
        data = b"".join(encode(message) for message in messages)
        seconds = time.thread_time() - begin
        n_open -= sum(isinstance(message, Finished) for message in messages)
        n_steps += 1
        if n_steps > 4 and n_open == n_slots and data:
            besides.append((seconds - clock.seconds) / n_slots * 1e6)
            whole.append(seconds / n_slots * 1e6)
    return statistics.median(besides), statistics.median(whole)


def measure(model: Model, log: LogSink, clock: DecodeClock, n_slots: int, args: argparse.Namespace) -> None:
    load = LoadParams(n_ctx=N_CTX, n_slots=n_slots, n_gpu_layers=0)
    engine = open_engine(model, load, Inbox(-1), log)
    generator = engine.generator
    assert generator is not None
    for name, options in OPTIONS.items():
        us_per_slot_token(generator, clock, n_slots, 16, options)
        figures = [
            us_per_slot_token(generator, clock, n_slots, args.tokens, options) for _ in range(args.rounds)
        ]
        besides, whole = (statistics.median(side) for side in zip(*figures, strict=True))
        print(f"| {n_slots} | {name} | {besides:.1f} | {whole:.0f} | {besides / whole:.3f} |", flush=True)
    engine.context.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    log = LogSink()
    log.install()
    native.backend_init()
    paths = ModelPaths(model=args.model)
    model = load_model(paths, LoadParams(n_ctx=N_CTX, n_gpu_layers=0), log, lambda fraction: True)
    clock = DecodeClock()
    gc.collect()
    gc.freeze()
    gc.disable()  # as `server.engine.loop` does
    print("| slots | sampling | besides llama_decode, us | in all, us | share |")
    print("| --- | --- | --- | --- | --- |")
    for n_slots in args.slots:
        measure(model, log, clock, n_slots, args)


if __name__ == "__main__":
    main()
