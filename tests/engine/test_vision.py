"""Models that see: the engine's answers beside those of libmtmd's own way through a prompt."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from server.engine import native
from server.engine.context import Decoded
from server.engine.failures import BadModel, BadRequest
from server.engine.inbox import Inbox
from server.engine.loading import Engine, open_engine
from server.engine.logs import LogSink
from server.engine.media import Media
from server.engine.media_intake import MediaIntake, MediaReady
from server.engine.model import Model, load_model
from server.ipc.messages import Failed, Submit
from server.types.generation import LoadParams, MediaFile, ModelPaths, SamplingParams
from tests.support.generator_player import Player
from tests.support.vision_models import (
    KINDS,
    N_VOCAB,
    VisionModel,
    picture,
    sound,
    write_hearing_model,
    write_vision_model,
)

N_OUT = 24
N_ASCII = 94
"""The first tokens, each a printable character, which are all that answers are made of."""

ONLY_ASCII = tuple((token, -math.inf) for token in range(N_ASCII, N_VOCAB))


class Seeing(NamedTuple):
    """A model with its projector's file."""

    kind: str
    files: VisionModel
    model: Model


@pytest.fixture(scope="module", params=KINDS)
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, log: LogSink) -> Seeing:
    files = write_vision_model(tmp_path_factory.mktemp("vision"), request.param)
    params = LoadParams(n_ctx=512, n_gpu_layers=0)
    model = load_model(ModelPaths(model=str(files.text)), params, log, lambda fraction: True)
    return Seeing(request.param, files, model)


@pytest.fixture
def engine(seeing: Seeing, log: LogSink) -> Iterator[Engine]:
    engine = _open(seeing, log)
    yield engine
    _close(engine)


def _open(seeing: Seeing, log: LogSink, **values: Any) -> Engine:
    params = LoadParams(**{"n_ctx": 512, "n_slots": 3, "n_gpu_layers": 0, "n_threads": 1, **values})
    return open_engine(seeing.model, params, Inbox(-1), log, projector=str(seeing.files.projector))


def _close(engine: Engine) -> None:
    """Free everything but the model, which the tests of a kind share."""
    assert engine.media is not None and engine.projector is not None
    engine.media.close()
    engine.projector.close()
    engine.context.close()


class SeeingPlayer(Player):
    """A player whose prompts may hold pictures, encoded on the spot."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._engine = engine

    def look(self, *prompt: str | bytes, n: int = N_OUT, **options: object) -> int:
        self._n_requests += 1
        params = SamplingParams(temperature=0.0, n_predict=n, logit_bias=ONLY_ASCII, **options)  # type: ignore[arg-type]
        submit = Submit(request_id=self._n_requests, prompt=_pieces(*prompt), sampling=params)
        assert self._engine.projector is not None
        media = tuple(self._engine.projector.encode(piece) for piece in prompt if isinstance(piece, bytes))
        self.generator.submit(submit, media)
        return self._n_requests

    def answer(self, *prompt: str | bytes, **options: Any) -> tuple[int, ...]:
        request_id = self.look(*prompt, **options)
        return self.finish(request_id)

    def finish(self, request_id: int) -> tuple[int, ...]:
        while request_id not in self.ends:
            self.step()
        assert not isinstance(self.ends[request_id], Failed), self.ends[request_id]
        return self.tokens(request_id)


def _pieces(*prompt: str | bytes) -> tuple[str | MediaFile, ...]:
    return tuple(MediaFile(piece) if isinstance(piece, bytes) else piece for piece in prompt)


def _by_libmtmd(seeing: Seeing, *prompt: str | bytes, n: int = N_OUT) -> tuple[int, ...]:
    """The greedy answer, the prompt decoded by libmtmd's helper and the rest token by token."""
    from llama_cpp import llama_cpp as llama
    from llama_cpp import mtmd_cpp as mtmd

    params = native.context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 512, 512, 512
    params.n_threads = params.n_threads_batch = 1
    context = llama.llama_init_from_model(seeing.model.address, params)
    settings = mtmd.mtmd_context_params_default()
    settings.use_gpu, settings.print_timings, settings.n_threads = False, False, 1
    eyes = mtmd.mtmd_init_from_file(str(seeing.files.projector).encode(), seeing.model.address, settings)
    marker = mtmd.mtmd_default_marker().decode()
    text = "".join(marker if isinstance(piece, bytes) else piece for piece in prompt).encode()
    files = [piece for piece in prompt if isinstance(piece, bytes)]
    buffers = [(ctypes.c_uint8 * len(file)).from_buffer_copy(file) for file in files]
    bitmaps = [mtmd.mtmd_helper_bitmap_init_from_buf(eyes, b, len(b), False) for b in buffers]
    chunks = mtmd.mtmd_input_chunks_init()
    whole = mtmd.mtmd_input_text(text, len(text), True, True)
    array = (ctypes.c_void_p * len(bitmaps))(*bitmaps)
    assert mtmd.mtmd_tokenize(eyes, chunks, ctypes.byref(whole), array, len(bitmaps)) == 0
    n_past = llama.llama_pos(0)
    code = mtmd.mtmd_helper_eval_chunks(eyes, context, chunks, 0, 0, 512, True, ctypes.byref(n_past))
    assert code == 0
    answer: list[int] = []
    batch = llama.llama_batch_init(1, 0, 1)
    position = n_past.value
    for _ in range(n):
        logits = np.ctypeslib.as_array(llama.llama_get_logits(context), (seeing.model.n_vocab,)).copy()
        answer.append(int(logits[:N_ASCII].argmax()))
        batch.n_tokens = 1
        batch.token[0], batch.pos[0], batch.n_seq_id[0] = answer[-1], position, 1
        batch.seq_id[0][0], batch.logits[0] = 0, 1
        assert llama.llama_decode(context, batch) == 0
        position += 1
    llama.llama_batch_free(batch)
    mtmd.mtmd_input_chunks_free(chunks)
    for bitmap in bitmaps:
        mtmd.mtmd_bitmap_free(bitmap)
    mtmd.mtmd_free(eyes)
    llama.llama_free(context)
    return tuple(answer)


def test_an_answer_is_that_of_libmtmd(seeing: Seeing, engine: Engine) -> None:
    player = SeeingPlayer(engine)
    for prompt in (
        ("What is this? ", picture(1), " And why?"),
        (picture(2, size=(64, 64)), "Describe."),
        ("One ", picture(3), " two ", picture(4, size=(120, 40)), " which?"),
    ):
        assert player.answer(*prompt) == _by_libmtmd(seeing, *prompt)


def test_the_picture_matters(engine: Engine) -> None:
    player = SeeingPlayer(engine)
    answers = {player.answer("See: ", picture(seed), " Say:") for seed in range(4)}
    assert len(answers) > 1


def test_the_next_turn_keeps_the_picture(seeing: Seeing, engine: Engine) -> None:
    player = SeeingPlayer(engine)
    first = ("Look: ", picture(5), " What?")
    player.answer(*first)
    again = player.look(*first, " More?")
    player.finish(again)
    n_first = player.ends[1].timings.n_prompt_tokens  # type: ignore[union-attr]
    assert player.ends[again].timings.n_cached_tokens >= n_first - 1  # type: ignore[union-attr]
    assert player.tokens(again) == _by_libmtmd(seeing, *first, " More?")


def test_another_picture_shares_what_stands_before_it(seeing: Seeing, engine: Engine) -> None:
    player = SeeingPlayer(engine)
    beginning = "A beginning of some length that both prompts share. " * 2
    player.answer(beginning, picture(6), " What?")
    other = player.look(beginning, picture(7), " What?")
    player.finish(other)
    n_cached = player.ends[other].timings.n_cached_tokens  # type: ignore[union-attr]
    assert len(beginning) <= n_cached + 1 and n_cached <= len(beginning) + 1
    assert player.tokens(other) == _by_libmtmd(seeing, beginning, picture(7), " What?")


def test_many_at_once_answer_as_alone(seeing: Seeing, engine: Engine) -> None:
    player = SeeingPlayer(engine)
    prompts = [(f"Number {index}: ", picture(index), " is what?") for index in range(5)]
    ids = [player.look(*prompt) for prompt in prompts]
    ids.append(player.look("No picture at all"))
    for request_id, prompt in zip(ids, [*prompts, ("No picture at all",)], strict=True):
        assert player.finish(request_id) == _by_libmtmd(seeing, *prompt)


def test_a_stream_goes_on_between_the_parts_of_a_picture(seeing: Seeing, log: LogSink) -> None:
    engine = _open(seeing, log, n_batch=16)
    player = SeeingPlayer(engine)
    stream = player.look("Once upon a time", n=40)
    while not player.tokens(stream):
        player.step()
    prompt = ("And now: ", picture(8), " yes?")
    other = player.look(*prompt)
    kinds: list[bool] = []
    while not player.tokens(other) and stream not in player.ends:
        n_before = len(player.tokens(stream))
        player.step()
        kinds.append(len(player.tokens(stream)) > n_before)
    assert all(a or b for a, b in itertools.pairwise(kinds)), "two steps without a token"
    assert player.finish(other) == _by_libmtmd(seeing, *prompt)
    assert player.finish(stream) == _by_libmtmd(seeing, "Once upon a time", n=40)
    _close(engine)


def test_a_picture_larger_than_the_context_is_refused(seeing: Seeing, log: LogSink) -> None:
    engine = _open(seeing, log, n_ctx=8, n_slots=1)
    player = SeeingPlayer(engine)
    with pytest.raises(Exception, match="context holds 8"):
        player.look("x", picture(1), "y")
    assert player.generator.is_idle
    _close(engine)


def test_a_cancelled_request_leaves_a_usable_slot(seeing: Seeing, log: LogSink) -> None:
    engine = _open(seeing, log, n_slots=1, n_batch=16)
    player = SeeingPlayer(engine)
    prompt = ("Look here: ", picture(9, size=(200, 200)), " well?")
    for n_steps in range(1, 6):
        request_id = player.look(*prompt)
        for _ in range(n_steps):
            player.step()
        player.generator.abort(request_id)
        assert player.answer(*prompt) == _by_libmtmd(seeing, *prompt)
    _close(engine)


def test_files_are_encoded_once_on_another_thread(engine: Engine) -> None:
    calls: list[bytes] = []
    assert engine.projector is not None
    encode = engine.projector.encode

    class Counting:
        def encode(self, data: bytes) -> Media:
            calls.append(data)
            return encode(data)

    done: queue.SimpleQueue[MediaReady] = queue.SimpleQueue()
    intake = MediaIntake(Counting(), done.put)
    first = Submit(request_id=1, prompt=_pieces("a", picture(1), picture(2)), sampling=SamplingParams())
    second = Submit(request_id=2, prompt=_pieces(picture(1)), sampling=SamplingParams())
    broken = Submit(request_id=3, prompt=_pieces(b"no picture"), sampling=SamplingParams())
    gone = Submit(request_id=4, prompt=_pieces(picture(3)), sampling=SamplingParams())
    for message in (first, second, broken, gone):
        intake.take(message)
    assert intake.is_busy and intake.forget(4) and not intake.forget(4)
    ready = [done.get(timeout=30) for _ in range(3)]
    assert [message.submit.request_id for message in ready] == [1, 2, 3]
    assert [len(message.media) for message in ready] == [2, 1, 0]
    assert ready[0].media[0] is ready[1].media[0]
    assert "cannot be decoded" in str(ready[2].error)
    assert all(intake.take_back(message) for message in ready) and not intake.is_busy
    assert calls.count(picture(1)) == 1
    intake.close()


def test_slots_that_share_their_cells(seeing: Seeing, log: LogSink) -> None:
    engine = _open(seeing, log, n_pool_cells=600)
    player = SeeingPlayer(engine)
    prompts = [("The same beginning for each. ", picture(index % 2), f" {index}?") for index in range(6)]
    ids = [player.look(*prompt) for prompt in prompts]
    for request_id, prompt in zip(ids, prompts, strict=True):
        assert player.finish(request_id) == _by_libmtmd(seeing, *prompt)
    _close(engine)


def test_decoded_alone(seeing: Seeing, engine: Engine) -> None:
    player = SeeingPlayer(engine)
    prompt = ("Alone: ", picture(10), " now?")
    assert player.answer(*prompt, deterministic=True) == _by_libmtmd(seeing, *prompt)


def test_a_full_context_ends_the_answer(seeing: Seeing, log: LogSink) -> None:
    engine = _open(seeing, log, n_ctx=96, n_slots=1)
    player = SeeingPlayer(engine)
    request_id = player.look("Long: ", picture(11), " go", n=200)
    player.finish(request_id)
    end = player.ends[request_id]
    assert end.reason == "length"  # type: ignore[union-attr]
    assert end.timings.n_prompt_tokens + end.timings.n_output_tokens <= 97  # type: ignore[union-attr]
    _close(engine)


def test_a_model_without_projector_takes_no_pictures(seeing: Seeing, log: LogSink) -> None:
    params = LoadParams(n_ctx=64, n_gpu_layers=0)
    engine = open_engine(seeing.model, params, Inbox(-1), log)
    player = Player(engine)
    with pytest.raises(BadRequest, match="no pictures"):
        player.generator.submit(
            Submit(request_id=1, prompt=_pieces("x", picture(1)), sampling=SamplingParams())
        )
    assert player.generator.is_idle
    engine.context.close()


def test_a_model_that_hears(tmp_path: Path, log: LogSink) -> None:
    files = write_hearing_model(tmp_path)
    params = LoadParams(n_ctx=512, n_gpu_layers=0)
    model = load_model(ModelPaths(model=str(files.text)), params, log, lambda fraction: True)
    hearing = Seeing("ultravox", files, model)
    engine = _open(hearing, log)
    player = SeeingPlayer(engine)
    for prompt in (("Listen: ", sound(1), " What?"), (sound(2, seconds=31.0), "And ", sound(1), "?")):
        assert player.answer(*prompt) == _by_libmtmd(hearing, *prompt)
    with pytest.raises(BadRequest, match="does not see"):
        player.look("Look: ", picture(1))
    with pytest.raises(BadRequest, match="cannot be decoded"):
        player.look("Listen: ", sound(1)[:40])
    _close(engine)
    model.close()


def test_a_file_that_is_no_projector(seeing: Seeing, log: LogSink) -> None:
    for path in (str(seeing.files.text), os.fsdecode(b"/no/such/\xff")):
        with pytest.raises(BadModel, match="projector cannot be loaded"):
            open_engine(seeing.model, LoadParams(n_ctx=64), Inbox(-1), log, projector=path)


def test_a_picture_that_finds_no_room_fails_alone(
    seeing: Seeing, log: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _open(seeing, log, n_pool_cells=600)
    player = SeeingPlayer(engine)
    monkeypatch.setattr(engine.context, "decode_embeddings", lambda *_, **__: Decoded.NO_ROOM)
    stream = player.look("Others go on", n=40)
    while not player.tokens(stream):
        player.step()
    request_id = player.look("See ", picture(12), "?")
    for _ in range(200):
        if {stream, request_id} <= set(player.ends):
            break
        player.step()
    assert player.finish(stream) == _by_libmtmd(seeing, "Others go on", n=40)
    assert "no room" in player.ends[request_id].message  # type: ignore[union-attr]
    assert player.generator.is_idle
    _close(engine)
