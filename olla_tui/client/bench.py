"""Measures how fast a model answers: what `olla bench` prints and the workstation keeps."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec

from olla_tui.client.bench_figures import (
    Figures,
    Machine,
    Prefill,
    Run,
    ceiling,
    decode_speed,
    prefill_speed,
)
from server.errors import EngineError
from server.services.protocols import Services
from server.types.generation import Chunk, Completed, GenerateRequest, Origin
from server.types.models import ModelInfo, RunningModel
from server.types.names import ModelName

ORIGIN: Final = Origin(route="bench", client="olla")
SHORT_PROMPT_TOKENS: Final = 16


class BenchFlags(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of `olla bench`.

    Attributes:
        clients: numbers of requests at once, one row of figures each.
        n_prompt: tokens of the long prompt.
        n_predict: tokens of each answer.
        more_prompts: lengths of other prompts whose reading is measured, where the context holds them.
    """

    clients: tuple[int, ...] = (1, 8)
    n_prompt: int = 512
    n_predict: int = 128
    n_rounds: int = 3
    more_prompts: tuple[int, ...] = ()
    format: str = ""


class Bench:
    """The rounds of one model."""

    def __init__(
        self,
        services: Services,
        info: ModelInfo,
        model: str,
        flags: BenchFlags,
        progress: Callable[[str], None],
    ) -> None:
        """`progress`: is told what is measured."""
        self._services = services
        self._info = info
        self._model = model
        self._flags = flags
        self._progress = progress
        self._prompts = random.Random(1)
        self._n_tokens_per_word = 1.0

    async def run(self, *, is_local: bool) -> Figures:
        """All rounds, the cheap ones first."""
        flags = self._flags
        load_s, running = await self._load()
        n_tokens = len(await self._services.inference.tokenize(self._model, " ".join(_WORDS)))
        self._n_tokens_per_word = n_tokens / len(_WORDS)
        short = await self._rounds("the first token", 1, SHORT_PROMPT_TOKENS, 1)
        long = await self._rounds("prefill", 1, flags.n_prompt, 1)
        by_length = [
            (n_prompt, await self._rounds(f"prefill of {n_prompt}", 1, n_prompt, 1))
            for n_prompt in flags.more_prompts
            if n_prompt < running.n_ctx
        ]
        decode = [
            decode_speed(
                n, await self._rounds(f"decode, {n} at once", n, SHORT_PROMPT_TOKENS, flags.n_predict)
            )
            for n in flags.clients
        ]
        machine = await self._machine(running, is_local=is_local)
        weights_bytes = running.weights_bytes or running.size_bytes
        return Figures(
            model=self._model,
            quantization=self._info.details.quantization_level,
            n_parameters=int(self._info.model_info.get("general.parameter_count") or 0),
            weights_bytes=weights_bytes,
            machine=machine,
            load_s=load_s,
            first_token_s=decode_speed(1, short).first_token_s,
            n_prompt_tokens=long[-1].timings[0].n_prompt_tokens,
            prefill_tokens_per_s=prefill_speed(long),
            decode=tuple(decode),
            ceiling_tokens_per_s=ceiling(machine.read_bytes_per_s, weights_bytes),
            prefill_by_length=tuple(
                Prefill(n_tokens=n_prompt, tokens_per_s=prefill_speed(runs)) for n_prompt, runs in by_length
            ),
        )

    async def _load(self) -> tuple[float, RunningModel]:
        """Load the model anew, so that the time is that of a load. Raises: EngineError when it has gone."""
        self._progress(f"loading {self._model}")
        await self._ask(GenerateRequest(model=self._model, keep_alive_s=0, origin=ORIGIN))
        begin_s = time.perf_counter()
        await self._ask(GenerateRequest(model=self._model, origin=ORIGIN))
        load_s = time.perf_counter() - begin_s
        for running in await self._services.status.running():
            if running.name == ModelName.parse(self._model).display():
                return load_s, running
        raise EngineError(f"{self._model} was unloaded while it was to be measured; try again")

    async def _rounds(self, what: str, n_clients: int, n_prompt: int, n_predict: int) -> list[Run]:
        runs = []
        for number in range(self._flags.n_rounds + 1):
            self._progress(f"measuring {what}: round {number + 1} of {self._flags.n_rounds + 1}")
            runs.append(await self._run(n_clients, n_prompt, n_predict))
        return runs[1:]  # the first one pays for memory that is touched for the first time

    async def _run(self, n_clients: int, n_prompt: int, n_predict: int) -> Run:
        requests = [self._request(n_prompt, n_predict) for _ in range(n_clients)]
        answers = await asyncio.gather(*(self._ask(request) for request in requests))
        starts_s, stamps_s, ends = zip(*answers, strict=True)
        all_s = sorted(itertools.chain.from_iterable(stamps_s))
        return Run(
            first_token_s=tuple(
                (stamps or (end_s,))[0] - start_s
                for (start_s, end_s), stamps in zip(starts_s, stamps_s, strict=True)
            ),
            wall_s=all_s[-1] - all_s[0] if all_s else 0.0,
            timings=tuple(end.timings for end in ends),
        )

    def _request(self, n_prompt: int, n_predict: int) -> GenerateRequest:
        """A prompt that nobody has asked before, so that nothing of it is in memory."""
        n_words = max(round(n_prompt / self._n_tokens_per_word), 1)
        return GenerateRequest(
            model=self._model,
            prompt=" ".join(self._prompts.choices(_WORDS, k=n_words)),
            raw=True,
            options={
                "temperature": 0.0,
                "num_predict": n_predict,
                "ignore_eos": True,
                "draft_num_predict": 0,
            },
            origin=ORIGIN,
        )

    async def _ask(
        self, request: GenerateRequest
    ) -> tuple[tuple[float, float], tuple[float, ...], Completed]:
        """((begin, end), time of each piece, the end of the answer)."""
        begin_s = time.perf_counter()
        stamps_s = []
        completed = Completed(reason="load")
        async with aclosing(self._services.inference.generate(request)) as events:
            async for event in events:
                if isinstance(event, Chunk):
                    stamps_s.append(time.perf_counter())
                elif isinstance(event, Completed):
                    completed = event
        return (begin_s, time.perf_counter()), tuple(stamps_s), completed

    async def _machine(self, running: RunningModel, *, is_local: bool) -> Machine:
        """The machine that the server runs on; memory is measured only where the model is in this one's."""
        devices = (await self._services.status.snapshot()).devices
        read_bytes_per_s = 0.0
        if is_local and not running.size_vram_bytes:
            from server.hardware.bandwidth import read_bandwidth_bytes_per_s

            self._progress("measuring how fast memory is read")
            read_bytes_per_s = await asyncio.to_thread(read_bandwidth_bytes_per_s, _n_processors())
        return Machine(
            processor=devices[0 if running.size_vram_bytes else -1].name if devices else "",
            n_slots=running.n_slots,
            n_ctx=running.n_ctx,
            read_bytes_per_s=read_bytes_per_s,
        )


def _n_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_WORDS: Final = (
    "river stone mill seven boys count every boat hills corn iron salt wool nobody knows built still tell "
    "wheel night paper window green letter cold morning bridge music seldom quiet garden horse winter lamp"
).split()
