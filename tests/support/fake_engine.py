"""A worker without a model: speaks `server.ipc` on stdin and stdout and misbehaves as it is told.

Started as `python -P fake_engine.py SCRIPT`, where the argument is a `Script` in JSON. Its tokens are bytes,
and it answers a prompt with that prompt, over and over until `n_predict`. It takes over a generation only if
the tokens and the length of the text that were emitted are those of that answer.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from server.ipc.framing import TO_ENGINE, decode, read_frame, write_frame
from server.ipc.messages import (
    VERSION,
    Abort,
    Bye,
    Detokenize,
    Embed,
    Embeddings,
    EngineTimings,
    Failed,
    FailureKind,
    Finished,
    FinishReason,
    FromEngine,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Rerank,
    Scores,
    Shutdown,
    Step,
    StepStats,
    Submit,
    Text,
    ToEngine,
    TokenDelta,
    Tokenize,
    Tokens,
)

BOS_TOKEN = 256


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How the worker behaves.

    Attributes:
        once: a file; the faults below happen only to the worker that creates it. "" for each worker.
        crash_after_tokens: kill itself once a request has got so many tokens, with those of earlier workers.
        crash_each_tokens: kill itself whenever a request has got so many tokens from this worker.
        crash_on_text: kill itself in the first step of a prompt that contains this.
        crash_on: kill itself on a message of this name ("Embed", "Tokenize", "Load").
        hang_on: answer nothing more from a message of this name on.
        load_failure: (kind, message) instead of loading.
        load_step_s: time between two of the four steps of a load.
        fail: (kind, message) to each request.
        token_s: time for each step.
        garbage_on: write bytes that are no frame on a message of this name.
        draft_failure: has a draft model, which fails with this on the first Tokenize.
    """

    once: str = ""
    crash_after_tokens: int | None = None
    crash_each_tokens: int | None = None
    crash_on_text: str = ""
    crash_on: str = ""
    hang_on: str = ""
    load_failure: tuple[FailureKind, str] | None = None
    load_step_s: float = 0.0
    fail: tuple[FailureKind, str] | None = None
    token_s: float = 0.0
    garbage_on: str = ""
    draft_failure: str = ""
    version: int = VERSION


def command(script: Script | None = None) -> tuple[str, ...]:
    """The command that starts this worker with a script."""
    text = msgspec.json.encode(script or Script()).decode()
    return (sys.executable, "-P", str(Path(__file__)), text)


class Generation(msgspec.Struct, kw_only=True):
    """A request that generates."""

    submit: Submit
    prompt: tuple[int, ...]
    n_done: int = 0
    n_here: int = 0


class FakeEngine:
    """The worker's loop."""

    def __init__(self, script: Script, out_fd: int) -> None:
        self._script = script
        self._out_fd = out_fd
        self._inbox: queue.Queue[ToEngine | None] = queue.Queue()
        self._running: list[Generation] = []
        self._waiting: list[Generation] = []
        self._n_ctx = 0
        self._n_slots = 1
        self._faults = not script.once or not os.path.exists(script.once)

    def run(self) -> None:
        self._send(Hello(version=self._script.version, pid=os.getpid(), llama_build="fake"))
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            idle = not (self._running or self._waiting)
            try:
                message = self._inbox.get(block=idle)
            except queue.Empty:
                self._step()
                continue
            if message is None or isinstance(message, Shutdown):
                self._send(Bye())
                return
            self._handle(message)

    def _read(self) -> None:
        while (payload := read_frame(0)) is not None:
            self._inbox.put(decode(payload, TO_ENGINE))
        self._inbox.put(None)
        time.sleep(1.0)  # a loop that hangs on purpose does not look into its inbox
        os._exit(0)

    def _send(self, message: FromEngine) -> None:
        write_frame(self._out_fd, message)

    def _handle(self, message: ToEngine) -> None:
        self._misbehave(type(message).__name__)
        if isinstance(message, Load):
            self._load(message)
        elif isinstance(message, Abort):
            self._abort(message.request_id)
        elif (
            isinstance(message, Submit | Embed | Rerank | Tokenize | Detokenize)
            and self._script.fail is not None
        ):
            kind, text = self._script.fail
            self._send(Failed(request_id=message.request_id, kind=kind, message=text))
        elif isinstance(message, Submit):
            self._submit(message)
        elif isinstance(message, Embed):
            self._embed(message)
        elif isinstance(message, Rerank):
            self._rerank(message)
        elif isinstance(message, Tokenize):
            if self._script.draft_failure:
                self._send(self._loaded(self._script.draft_failure))
            start = (BOS_TOKEN,) if message.add_special else ()
            tokens = tuple(start + tuple(text.encode()) for text in message.texts)
            self._send(Tokens(request_id=message.request_id, tokens=tokens))
        elif isinstance(message, Detokenize):
            text = bytes(token for token in message.tokens if token < BOS_TOKEN).decode("utf-8", "replace")
            self._send(Text(request_id=message.request_id, text=text))

    def _misbehave(self, name: str) -> None:
        script = self._script
        if name not in (script.crash_on, script.hang_on, script.garbage_on) or not self._take_fault():
            return
        if name == script.crash_on:
            self._crash()
        if name == script.garbage_on:
            os.write(self._out_fd, b"\xff" * 64)
        while name == script.hang_on:
            time.sleep(0.05)

    def _take_fault(self) -> bool:
        if self._faults and self._script.once:
            Path(self._script.once).touch()
        return self._faults

    def _crash(self) -> None:
        print("fake engine: crashing as scripted", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def _load(self, load: Load) -> None:
        if not os.path.exists(load.paths.model):
            self._send(LoadFailed("load_failed", f"no such file: {load.paths.model}"))
            sys.exit(1)
        for step in range(4):
            self._send(LoadProgress(step / 4))
            time.sleep(self._script.load_step_s)
        if self._script.load_failure is not None and self._take_fault():
            self._send(LoadFailed(*self._script.load_failure))
            sys.exit(1)
        self._n_ctx, self._n_slots = load.params.n_ctx, load.params.n_slots
        self._send(self._loaded())

    def _loaded(self, draft_refusal: str = "") -> Loaded:
        return Loaded(
            n_ctx=self._n_ctx,
            n_ctx_train=self._n_ctx,
            n_slots=self._n_slots,
            n_vocab=257,
            n_embd=4,
            n_threads=1,
            can_shift=True,
            weights_bytes=1000,
            kv_bytes=100,
            compute_bytes=10,
            vram_bytes=0,
            has_draft_model=bool(self._script.draft_failure) and not draft_refusal,
            draft_refusal=draft_refusal,
        )

    def _submit(self, submit: Submit) -> None:
        prompt = _tokens_of(submit.prompt)
        request_id = submit.request_id
        if submit.sampling.grammar and "root" not in submit.sampling.grammar:
            self._send(Failed(request_id=request_id, kind="invalid_grammar", message="no rule 'root'"))
        elif len(prompt) >= self._n_ctx:
            self._send(
                Failed(
                    request_id=request_id,
                    kind="context_exceeded",
                    message="the prompt does not fit the context",
                    n_prompt_tokens=len(prompt),
                    n_ctx=self._n_ctx,
                )
            )
        elif not _is_answer(prompt, submit):
            text = "these tokens are not what was emitted"
            self._send(Failed(request_id=request_id, kind="invalid_request", message=text))
        else:
            self._waiting.append(Generation(submit=submit, prompt=prompt, n_done=len(submit.emitted)))

    def _embed(self, embed: Embed) -> None:
        inputs = [_tokens_of((piece,)) for piece in embed.inputs]
        if not embed.truncate and any(len(tokens) > self._n_ctx for tokens in inputs):
            self._send(
                Failed(request_id=embed.request_id, kind="context_exceeded", message="the input is too long")
            )
            return
        one = b"\x00\x00\x80\x3f" + bytes(12)  # (1, 0, 0, 0) as float32
        n_tokens = tuple(min(len(tokens), self._n_ctx) for tokens in inputs)
        self._send(Embeddings(request_id=embed.request_id, vectors=(one,) * len(inputs), n_tokens=n_tokens))

    def _rerank(self, rerank: Rerank) -> None:
        counts = tuple(len(rerank.query.encode() + text.encode()) for text in rerank.documents)
        if not rerank.truncate and any(n > self._n_ctx for n in counts):
            self._send(
                Failed(request_id=rerank.request_id, kind="context_exceeded", message="the pair is too long")
            )
            return
        scores = tuple(float(-n) for n in counts)
        n_tokens = tuple(min(n, self._n_ctx) for n in counts)
        n_dropped = tuple(max(0, n - self._n_ctx) for n in counts)
        self._send(
            Scores(request_id=rerank.request_id, scores=scores, n_tokens=n_tokens, n_dropped=n_dropped)
        )

    def _abort(self, request_id: int) -> None:
        for group in (self._running, self._waiting):
            for sequence in group:
                if sequence.submit.request_id == request_id:
                    group.remove(sequence)
                    self._finish(sequence, "cancelled")
                    return

    def _step(self) -> None:
        time.sleep(self._script.token_s)
        while self._waiting and len(self._running) < self._n_slots:
            self._running.append(self._waiting.pop(0))
        deltas: list[TokenDelta] = []
        finished: list[Generation] = []
        for sequence in self._running:
            if self._is_crash_due(sequence) and self._take_fault():
                self._crash()
            prompt, n_predict = sequence.prompt, sequence.submit.sampling.n_predict
            if not prompt or sequence.n_done == (10 * self._n_ctx if n_predict < 0 else n_predict):
                finished.append(sequence)
                continue
            token = prompt[sequence.n_done % len(prompt)]
            sequence.n_done += 1
            sequence.n_here += 1
            begun = _timings(sequence) if sequence.n_here == 1 else None
            deltas.append(
                TokenDelta(
                    request_id=sequence.submit.request_id, tokens=(token,), text=_text_of(token), begun=begun
                )
            )
        stats = StepStats(n_busy_slots=len(self._running), n_queued=len(self._waiting), n_kv_tokens=1)
        self._send(Step(tuple(deltas), stats))
        for sequence in finished:
            self._running.remove(sequence)
            self._finish(sequence, "length" if sequence.prompt else "stop")

    def _finish(self, sequence: Generation, reason: FinishReason) -> None:
        timings = _timings(sequence)
        self._send(Finished(request_id=sequence.submit.request_id, reason=reason, timings=timings))

    def _is_crash_due(self, sequence: Generation) -> bool:
        script = self._script
        if sequence.n_here == 0 and script.crash_on_text:
            text = bytes(token for token in sequence.prompt if token < BOS_TOKEN).decode("utf-8", "replace")
            return script.crash_on_text in text
        return sequence.n_done == script.crash_after_tokens or sequence.n_here == script.crash_each_tokens


def _is_answer(prompt: tuple[int, ...], submit: Submit) -> bool:
    answer = tuple(prompt[n % len(prompt)] for n in range(len(submit.emitted)))
    n_characters = len("".join(_text_of(token) for token in answer))
    return submit.emitted == answer and submit.n_emitted_characters in (-1, n_characters)


def _text_of(token: int) -> str:
    return bytes((token,)).decode("latin-1") if token < BOS_TOKEN else ""


def _timings(sequence: Generation) -> EngineTimings:
    return EngineTimings(n_prompt_tokens=len(sequence.prompt), n_output_tokens=sequence.n_done)


def _tokens_of(pieces: Sequence[str | tuple[int, ...]]) -> tuple[int, ...]:
    tokens: list[int] = []
    for piece in pieces:
        tokens.extend(piece.encode() if isinstance(piece, str) else piece)
    return tuple(tokens)


def main() -> None:
    """Run the worker on this process's stdin and stdout."""
    out_fd = os.dup(1)
    os.dup2(2, 1)
    script = msgspec.convert(json.loads(sys.argv[1]), Script)
    print("fake engine: started", file=sys.stderr, flush=True)
    FakeEngine(script, out_fd).run()


if __name__ == "__main__":
    main()
