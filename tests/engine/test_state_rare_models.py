"""States of models that cannot forget a part of a sequence, or see only a window of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.engine.loading import Engine
from server.engine.logs import LogSink
from server.engine.model import Model
from server.ipc.messages import Finished, Step, Submit
from server.types.generation import SamplingParams, StateCacheParams
from tests.engine.conftest import MakeEngine
from tests.support.mamba import N_VOCAB, load, weights, write_mamba
from tests.support.tiny_gguf import Typed, gguf_bytes

N_EMBD, N_FF, N_HEAD, HEAD_DIM, WINDOW = 32, 64, 4, 8, 16
FIRST = tuple(5 + index % 200 for index in range(300))
OTHER = tuple(204 - index % 199 for index in range(300))


def write_windowed(path: Path) -> Path:
    """A Gemma 3 with random weights; five of its six layers see 16 tokens."""
    metadata: dict[str, Any] = {
        "general.architecture": "gemma3",
        "gemma3.context_length": 1024,
        "gemma3.embedding_length": N_EMBD,
        "gemma3.feed_forward_length": N_FF,
        "gemma3.block_count": 6,
        "gemma3.attention.head_count": N_HEAD,
        "gemma3.attention.head_count_kv": 2,
        "gemma3.attention.key_length": HEAD_DIM,
        "gemma3.attention.value_length": HEAD_DIM,
        "gemma3.attention.sliding_window": WINDOW,
        "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
        "gemma3.rope.freq_base": 1e6,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [chr(0x4E00 + index) for index in range(N_VOCAB)],
        "tokenizer.ggml.token_type": Typed("i32", [1] * N_VOCAB),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": 0,
    }
    tensors = [
        ("token_embd.weight", weights(1, N_VOCAB, N_EMBD)),
        ("output_norm.weight", np.ones(N_EMBD, np.float32)),
    ]
    for layer in range(6):
        prefix, seed = f"blk.{layer}.", 100 * (layer + 1)
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            tensors.append((f"{prefix}{name}.weight", np.ones(N_EMBD, np.float32)))
        for name in ("attn_q_norm", "attn_k_norm"):
            tensors.append((f"{prefix}{name}.weight", np.ones(HEAD_DIM, np.float32)))
        tensors += [
            (f"{prefix}attn_q.weight", weights(seed, N_HEAD * HEAD_DIM, N_EMBD)),
            (f"{prefix}attn_k.weight", weights(seed + 1, 2 * HEAD_DIM, N_EMBD)),
            (f"{prefix}attn_v.weight", weights(seed + 2, 2 * HEAD_DIM, N_EMBD)),
            (f"{prefix}attn_output.weight", weights(seed + 3, N_EMBD, N_HEAD * HEAD_DIM)),
            (f"{prefix}ffn_gate.weight", weights(seed + 4, N_FF, N_EMBD)),
            (f"{prefix}ffn_up.weight", weights(seed + 5, N_FF, N_EMBD)),
            (f"{prefix}ffn_down.weight", weights(seed + 6, N_EMBD, N_FF)),
        ]
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


@pytest.fixture(scope="module", params=["recurrent", "windowed"])
def rare(request: pytest.FixtureRequest, log: LogSink, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("rare") / "model.gguf"
    return load(log, (write_mamba if request.param == "recurrent" else write_windowed)(path))


def open_one(make_engine: MakeEngine, model: Model, folder: Path) -> Engine:
    cache = StateCacheParams(
        host_bytes=1 << 26, disk_bytes=1 << 26, disk_folder=str(folder), model_key="rare"
    )
    # Such small models decode so fast that nothing would pay: let them seem slow.
    engine = make_engine(model, n_slots=1, n_ctx=512, state_cache=cache)
    assert engine.generator is not None
    engine.generator._pace.tokens_per_s = 10.0
    engine.generator._pace.measured = lambda *_, **__: None  # type: ignore[method-assign]
    return engine


def answer(engine: Engine, *prompts: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """Greedy answers to prompts in turn, with the tokens that each found."""
    generator = engine.generator
    assert generator is not None
    sampling = SamplingParams(temperature=0.0, n_predict=8, logit_bias=((0, -1e6),))
    found: list[tuple[tuple[int, ...], int]] = []
    for request_id, prompt in enumerate(prompts):
        generator.submit(Submit(request_id=request_id, prompt=(prompt,), sampling=sampling))
        tokens: list[int] = []
        while not generator.is_idle:
            for message in generator.step():
                if isinstance(message, Step):
                    tokens += [token for delta in message.deltas for token in delta.tokens]
                else:
                    assert isinstance(message, Finished), message
                    found.append((tuple(tokens), message.timings.n_cached_tokens))
    return found


@pytest.fixture
def cold(make_engine: MakeEngine, rare: Model) -> Any:
    def run(prompt: tuple[int, ...]) -> tuple[int, ...]:
        ((tokens, n_cached),) = answer(make_engine(rare, n_slots=1, n_ctx=512), prompt)
        assert n_cached == 0
        return tokens

    return run


def test_only_what_goes_on_where_a_state_ends_is_restored(
    make_engine: MakeEngine, rare: Model, tmp_path: Path, cold: Any
) -> None:
    engine = open_one(make_engine, rare, tmp_path / "kv")
    assert engine.context.restores_whole
    ((said, _),) = answer(engine, FIRST)
    goes_on = FIRST + said[:-1] + (7, 8, 9)
    cut = (*FIRST[:290], 7, 8, 9)
    (other, restored, cut_again) = answer(engine, OTHER, goes_on, (*OTHER, 9, 9))[:3]
    assert other[0] == cold(OTHER)
    assert restored == (cold(goes_on), len(FIRST) + len(said) - 1)
    assert cut_again[0] == cold((*OTHER, 9, 9))
    assert answer(engine, cut)[0][0] == cold(cut)


def test_the_next_worker_goes_on(make_engine: MakeEngine, rare: Model, tmp_path: Path, cold: Any) -> None:
    first = open_one(make_engine, rare, tmp_path / "kv")
    ((said, _),) = answer(first, FIRST)
    assert first.generator is not None
    first.generator.saver.finish()
    goes_on = FIRST + said[:-1] + tuple(range(7, 30))
    longer = goes_on + tuple(range(30, 60))
    second = open_one(make_engine, rare, tmp_path / "kv")
    (one, two) = answer(second, goes_on, (*goes_on[:-3], 99, 98))
    assert one == (cold(goes_on), len(FIRST) + len(said) - 1)
    assert two[0] == cold((*goes_on[:-3], 99, 98))
    third = open_one(make_engine, rare, tmp_path / "kv")
    (below, above) = answer(third, (*FIRST[:200], 1, 2), longer)
    assert below == (cold((*FIRST[:200], 1, 2)), 0), "within the state nothing can be restored"
    assert above == (cold(longer), len(FIRST) + len(said) - 1)


def test_what_was_restored_is_not_cut_below_its_end(
    make_engine: MakeEngine, rare: Model, tmp_path: Path, cold: Any
) -> None:
    first = open_one(make_engine, rare, tmp_path / "kv")
    ((said, _),) = answer(first, FIRST)
    assert first.generator is not None
    first.generator.saver.finish()
    engine = open_one(make_engine, rare, tmp_path / "kv")
    goes_on = FIRST + said[:-1] + (7, 8, 9)
    back = (*FIRST[:-30], 3, 2, 1)
    (_, cut) = answer(engine, goes_on, back)
    assert cut == (cold(back), 0)
