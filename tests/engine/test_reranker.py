"""Models that rank pairs of texts, and causal models that embed: whole inputs in shared batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from server.engine.context import POOLING_LAST, POOLING_RANK, Context, ContextParams
from server.engine.embed_inputs import QUERY_TOO_LONG, TOO_LONG, InputReader, PairFormat
from server.engine.embedder import Embedder
from server.engine.failures import BadRequest, ContextFull
from server.engine.loading import Engine
from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.ipc.messages import Embed, Embeddings, Failed, FromEngine, Rerank, Scores
from server.types.generation import LoadParams, ModelPaths
from tests.engine.conftest import MakeEngine
from tests.support.engine_worker import MINILM
from tests.support.whole_input_models import ranking_minilm, tiny_qwen3

QUERY = "What is the capital of France?"
DOCUMENTS = (
    "Paris is the capital of France.",
    "Bananas are yellow.",
    "A capital is a city with a government, and France has one of the best known capitals of all.",
    "Paris is the capital of France.",
)
CLS, SEP = 101, 102


def embedder_of(engine: Engine) -> Embedder:
    assert engine.embedder is not None
    return engine.embedder


def load(log: LogSink, path: Path) -> Model:
    params = LoadParams(n_ctx=512, n_gpu_layers=0, embedding=True)
    return load_model(ModelPaths(model=str(path)), params, log, lambda fraction: True)


def end_of(embedder: Embedder, messages: list[FromEngine]) -> FromEngine:
    while not any(isinstance(message, Scores | Embeddings | Failed) for message in messages):
        messages = embedder.step()
    return messages[-1]


def scores(embedder: Embedder, *documents: str, query: str = QUERY, truncate: bool = True) -> Scores:
    message = Rerank(request_id=1, query=query, documents=documents, truncate=truncate)
    answer = end_of(embedder, embedder.rerank(message))
    assert isinstance(answer, Scores), answer
    assert embedder.is_idle
    return answer


def vectors(embedder: Embedder, *inputs: str) -> tuple[list[npt.NDArray[np.float32]], tuple[int, ...]]:
    answer = end_of(embedder, embedder.embed(Embed(request_id=1, inputs=inputs)))
    assert isinstance(answer, Embeddings), answer
    return [np.frombuffer(data, "<f4") for data in answer.vectors], answer.n_tokens


@pytest.fixture(scope="module")
def ranker(log: LogSink) -> Iterator[Model]:
    model = load(log, ranking_minilm())
    yield model
    model.close()


def test_scores_are_those_of_the_documents_alone(make_engine: MakeEngine, ranker: Model) -> None:
    embedder = embedder_of(make_engine(ranker, embedding=True))
    together = scores(embedder, *DOCUMENTS)
    assert together.scores[0] == pytest.approx(together.scores[3], abs=1e-5)
    assert len({round(score, 3) for score in together.scores}) == 3
    for document, score, n_tokens in zip(DOCUMENTS, together.scores, together.n_tokens, strict=True):
        alone = scores(embedder, document)
        assert alone.scores[0] == pytest.approx(score, abs=1e-5)
        assert alone.n_tokens == (n_tokens,)


def test_scores_depend_on_the_query(make_engine: MakeEngine, ranker: Model) -> None:
    embedder = embedder_of(make_engine(ranker, embedding=True))
    assert scores(embedder, *DOCUMENTS).scores != scores(embedder, *DOCUMENTS, query="bananas").scores


def test_a_score_is_what_the_head_makes_of_the_first_token(
    log: LogSink, make_engine: MakeEngine, ranker: Model
) -> None:
    """The head by hand, on the vector that the same weights without a head give for the first token."""
    plain = load(log, MINILM)
    tokens = InputReader(ranker, 512).pairs(QUERY, DOCUMENTS[:1], truncate=True)
    pair = InputReader(ranker, 512).tokens(tokens[0])
    params = ContextParams(
        n_ctx=64, n_seq_max=1, n_batch=64, n_ubatch=64, n_outputs_max=0, n_threads=1,
        embeddings=True, unified=True, pooling=2, flash_attention=False,
    )  # fmt: skip
    context = Context(plain, params, log)
    context.batch.add(0, pair, 0, output="all")
    context.decode()
    (first,) = context.pooled([0])
    context.close()
    rng = np.random.default_rng(7)
    weight, bias, out, out_bias = (
        (rng.standard_normal(shape) * 0.1).astype(np.float32) for shape in ((384, 384), 384, (1, 384), 1)
    )
    expected = out @ np.tanh(weight @ first + bias) + out_bias
    found = scores(embedder_of(make_engine(ranker, embedding=True)), DOCUMENTS[0])
    assert found.scores[0] == pytest.approx(float(expected[0]), abs=0.02)
    plain.close()


def test_query_and_document_are_joined_as_llama_server_joins_them(ranker: Model) -> None:
    reader = InputReader(ranker, 512)
    (source,) = reader.pairs("the sky", ("is blue",), truncate=True)
    words = [int(token) for text in ("the sky", "is blue") for token in ranker.tokenize(text)]
    assert [int(token) for token in reader.tokens(source)] == [CLS, *words[:2], SEP, *words[2:], SEP]


def test_special_tokens_in_a_text_are_plain_text(ranker: Model) -> None:
    reader = InputReader(ranker, 512)
    (source,) = reader.pairs("a [SEP] b", ("c [CLS] d",), truncate=True)
    tokens = [int(token) for token in reader.tokens(source)]
    assert tokens.count(CLS) == 1
    assert tokens.count(SEP) == 2


def test_a_long_document_is_cut_and_the_query_stays(make_engine: MakeEngine, ranker: Model) -> None:
    embedder = embedder_of(make_engine(ranker, embedding=True, n_ctx=32))
    whole = scores(embedder_of(make_engine(ranker, embedding=True, n_ctx=256)), "word " * 100)
    both = scores(embedder, "word " * 100, "word")
    assert both.n_tokens[0] == 32
    assert both.n_dropped == (whole.n_tokens[0] - 32, 0)
    assert whole.n_dropped == (0,)
    cut, same = scores(embedder, "word " * 100, "word " * 99).scores
    assert cut == pytest.approx(same, abs=1e-5)
    with pytest.raises(ContextFull, match=TOO_LONG):
        scores(embedder, "word " * 100, truncate=False)
    with pytest.raises(ContextFull, match=QUERY_TOO_LONG):
        scores(embedder, "word " * 100, query="word " * 40)
    assert embedder.is_idle


def test_models_that_rank_do_not_embed_and_the_other_way_round(
    make_engine: MakeEngine, ranker: Model, minilm: Model
) -> None:
    with pytest.raises(BadRequest, match="ranks documents"):
        embedder_of(make_engine(ranker, embedding=True)).embed(Embed(request_id=1, inputs=("a",)))
    with pytest.raises(BadRequest, match="does not rank"):
        scores(embedder_of(make_engine(minilm, embedding=True)), "a")


def test_no_documents_have_no_scores(make_engine: MakeEngine, ranker: Model) -> None:
    assert scores(embedder_of(make_engine(ranker, embedding=True))).scores == ()


def qwen3(log: LogSink, tmp_path: Path, pooling: int) -> Model:
    return load(log, tiny_qwen3(tmp_path / "qwen3.gguf", pooling=pooling))


def whole(model: Model, log: LogSink, text: str) -> npt.NDArray[np.float32]:
    """The vector of a text that runs in one batch of a context of its own."""
    params = ContextParams(
        n_ctx=1024, n_seq_max=1, n_batch=1024, n_ubatch=1024, n_outputs_max=0, n_threads=1,
        embeddings=True, unified=True, flash_attention=False,
    )  # fmt: skip
    context = Context(model, params, log)
    context.batch.add(0, model.tokenize(text, add_special=True), 0, output="all")
    context.decode()
    (row,) = context.pooled([0])
    context.close()
    vector: npt.NDArray[np.float32] = row / np.linalg.norm(row)
    return vector


def test_a_causal_model_embeds_by_its_last_token_and_takes_long_inputs_in_parts(
    make_engine: MakeEngine, log: LogSink, tmp_path: Path
) -> None:
    model = qwen3(log, tmp_path, POOLING_LAST)
    engine = make_engine(model, embedding=True, n_ctx=1024)
    embedder = embedder_of(engine)
    assert engine.context.n_ubatch < 900
    texts = ("short", "a longer text " * 60, "why", "a longer text " * 20 + "!", "another long one " * 45)
    found, n_tokens = vectors(embedder, *texts)
    assert max(n_tokens) > 2 * 256
    for text, vector in zip(texts, found, strict=True):
        assert float(whole(model, log, text) @ vector) >= 0.9999
    again, _ = vectors(embedder, *reversed(texts))
    for one, other in zip(found, reversed(again), strict=True):
        assert float(one @ other) >= 0.9999
    engine.context.close()
    model.close()


def test_short_requests_pass_a_long_input_that_is_under_way(
    make_engine: MakeEngine, log: LogSink, tmp_path: Path
) -> None:
    model = qwen3(log, tmp_path, POOLING_LAST)
    engine = make_engine(model, embedding=True, n_ctx=1024)
    embedder = embedder_of(engine)
    long = "a longer text " * 70
    embedder.embed(Embed(request_id=1, inputs=(long,)))
    embedder.step()
    embedder.embed(Embed(request_id=2, inputs=("why",)))
    ended: list[Embeddings] = []
    while not embedder.is_idle:
        ended += [message for message in embedder.step() if isinstance(message, Embeddings)]
    assert [answer.request_id for answer in ended] == [2, 1]
    for answer, text in zip(ended, ("why", long), strict=True):
        vector = np.frombuffer(answer.vectors[0], "<f4")
        assert float(whole(model, log, text) @ vector) >= 0.9999
    # One that is given up in the middle leaves nothing behind.
    embedder.embed(Embed(request_id=3, inputs=(long,)))
    embedder.step()
    embedder.abort(3)
    (vector,), _ = vectors(embedder, "why")
    assert float(whole(model, log, "why") @ vector) >= 0.9999
    engine.context.close()
    model.close()


def test_a_causal_model_ranks_by_its_own_template(
    make_engine: MakeEngine, log: LogSink, tmp_path: Path
) -> None:
    model = qwen3(log, tmp_path, POOLING_RANK)
    engine = make_engine(model, embedding=True, n_ctx=1024)
    embedder = embedder_of(engine)
    found = scores(embedder, *DOCUMENTS, "many words " * 80)
    assert all(0.0 < score < 1.0 for score in found.scores)
    assert scores(embedder, DOCUMENTS[2]).scores[0] == pytest.approx(found.scores[2], abs=1e-5)
    text = model.detokenize(PairFormat(model).head("{document}?"))
    assert text == "<|im_start|>Query: {document}?\nDocument: "
    (source,) = InputReader(model, 1024).pairs("{document}?", ("yes",), truncate=True)
    joined = model.detokenize(InputReader(model, 1024).tokens(source))
    assert joined == "<|im_start|>Query: {document}?\nDocument: yes<|im_end|>yes?"
    engine.context.close()
    model.close()


def test_the_reference_texts_are_those_of_the_unquantised_model(
    make_engine: MakeEngine, minilm: Model
) -> None:
    """Vectors of a batch of many requests against the reference, as an answer of each request."""
    reference = json.loads(MINILM.with_suffix(".reference.json").read_text())
    embedder = embedder_of(make_engine(minilm, embedding=True))
    for request_id, text in enumerate(reference):
        embedder.embed(Embed(request_id=request_id, inputs=(text,)))
    answers: dict[int, Embeddings] = {}
    while not embedder.is_idle:
        for message in embedder.step():
            if isinstance(message, Embeddings):
                answers[message.request_id] = message
    for request_id, expected in enumerate(reference.values()):
        (data,) = answers[request_id].vectors
        assert float(np.frombuffer(data, "<f4") @ np.array(expected["vector"], np.float32)) >= 0.999
        assert answers[request_id].n_tokens == (expected["tokens"],)
