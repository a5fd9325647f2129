from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.engine.text_parts import MAX_RUN, text_parts
from server.types.generation import LoadParams, ModelPaths
from tests.support.tiny_gguf import tiny_llama_bytes

RUNS = st.lists(
    st.tuples(
        st.sampled_from(["a", "漢", " ", "\n", "1", "ab,", '{"a":1},', "!"]), st.integers(1, 3 * MAX_RUN)
    ),
    max_size=4,
)


@given(runs=RUNS)
@settings(deadline=None)
def test_parts_make_up_the_text_and_have_short_runs(runs: list[tuple[str, int]]) -> None:
    text = "".join(piece * n for piece, n in runs)
    parts = text_parts(text)
    assert "".join(parts) == text
    assert all(len(run) <= MAX_RUN for part in parts for run in re.findall(r"\S+|\s+", part))


def test_a_text_of_short_words_is_one_part() -> None:
    text = "The quick brown fox. " * 10_000
    assert text_parts(text) == [text]


def test_a_long_run_is_cut_where_words_end() -> None:
    text = '{"key":"value","list":[1,22,333]},' * 1000
    parts = text_parts(text)
    assert len(parts) > 1
    assert all(part[0] in ',;({["<=+' for part in parts[1:])


@pytest.mark.parametrize("pre", ["tekken", "gpt-4o", "deepseek-v3"])
@pytest.mark.parametrize("piece", ["a", " ", "é", "\n"])
def test_no_text_overflows_the_stack(tmp_path: Path, log: LogSink, pre: str, piece: str) -> None:
    """llama.cpp splits the texts of these models by a recursion of one call for each character."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama_bytes(tokenizer__ggml__pre=pre, tokenizer__ggml__add_bos_token=True))
    model: Model = load_model(ModelPaths(model=str(path)), LoadParams(n_ctx=64), log, lambda fraction: True)
    text = piece * 100_000
    tokens = model.tokenize(text, add_special=True)
    assert list(tokens[:1]) == [model.bos]
    assert list(tokens).count(model.bos) == 1
    assert model.detokenize(tokens[1:]) == text
    model.close()
