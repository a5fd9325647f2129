"""OpenAI's text completions, embeddings and models."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.types.generation import (
    Chunk,
    Completed,
    EmbedResult,
    Origin,
    PromptLogprobs,
    Timings,
    TokenLogprob,
    TopLogprob,
)
from server.types.models import ModelDetails, ModelInfo, ModelSummary
from server.wire.codec import encode
from server.wire.folding import Answer
from server.wire.openai.completions import (
    TextWriter,
    completion,
    completion_from_body,
    logprobs_body,
    usage_piece,
)
from server.wire.openai.embeddings import embeddings_from_body, embeddings_reply
from server.wire.openai.models import model_reply, models_reply

END = Completed(reason="length", timings=Timings(n_prompt_tokens=3, n_output_tokens=2))


def complete(**fields: Any) -> Any:
    return completion_from_body(json.dumps({"model": "m", **fields}).encode(), Origin())


def embed(**fields: Any) -> Any:
    return embeddings_from_body(json.dumps({"model": "m", **fields}).encode(), Origin())


def test_completions_have_penalties_and_top_p_always() -> None:
    call = complete(prompt="p", suffix="s", top_p=0, max_tokens=1)
    (request,) = call.requests
    assert request.options == {
        "num_predict": 1,
        "temperature": 1.0,
        "top_p": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
    }
    assert (request.prompt, request.suffix, call.stream) == ("p", "s", False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": {}}, "prompt must be a string, an array of strings, or token ids"),
        ({"prompt": []}, "prompt must be a string, an array of strings, or token ids"),
        ({"prompt": ["a", 1]}, "prompt must be a string, an array of strings, or token ids"),
        ({"prompt": ["a"] * 9, "n": 2}, "prompts times n must be at most 16"),
        ({"n": 0}, "n must be between 1 and 16"),
        (
            {"echo": True, "logprobs": 0, "suffix": "s"},
            "echo with logprobs takes no suffix; leave one of them out",
        ),
        ({"stop": [1]}, "invalid type for 'stop' field: float64"),
        ({"logprobs": 21}, "top_logprobs must be between 0 and 20"),
    ],
)
def test_completions_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        complete(**fields)
    assert caught.value.message == message


def test_a_completion_in_ollamas_order() -> None:
    body = encode(completion("cmpl-1", "m", [Answer(completed=END, content="a", thinking="t")], [""], 5))
    assert body.decode() == (
        '{"id":"cmpl-1","object":"text_completion","created":5,"model":"m","system_fingerprint":"fp_ollama",'
        '"choices":[{"text":"a","index":0,"finish_reason":"length"}],'
        '"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
    )


def test_prompts_as_lists_and_as_tokens() -> None:
    def prompts(value: Any) -> Any:
        call = complete(prompt=value, n=2, echo=True, best_of=3)
        assert (call.n, call.echo, call.ignored) == (2, True, ("best_of",))
        return [request.prompt for request in call.requests], call.tokens

    assert prompts(None) == ([""], {})
    assert prompts(["a", "b"]) == (["a", "b"], {})
    assert prompts([1, 2]) == ([""], {0: (1, 2)})
    assert prompts([[1, 2], [3]]) == (["", ""], {0: (1, 2), 1: (3,)})


def writer(*, prompt: str = "", with_usage: bool = False) -> TextWriter:
    return TextWriter("cmpl-1", "m", 5, index=0, prompt=prompt, with_usage=with_usage)


def test_pieces_of_a_completion() -> None:
    assert writer().pieces(Chunk(content="a")) == [
        b'data: {"id":"cmpl-1","object":"text_completion","created":5,"choices":[{"text":"a","index":0,'
        b'"finish_reason":null}],"model":"m","system_fingerprint":"fp_ollama"}\n\n'
    ]
    zeros = b'"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'
    (piece,) = writer(with_usage=True).pieces(Chunk(content="a"))
    assert zeros in piece
    assert b'"choices":[]' in usage_piece("cmpl-1", "m", 5, [END])
    assert b'"total_tokens":10' in usage_piece("cmpl-1", "m", 5, [END, END])


def test_an_echo_comes_first_and_once() -> None:
    echoing = writer(prompt="Once")
    pieces = [
        piece for event in (Chunk(content=" a"), Chunk(content=" b"), END) for piece in echoing.pieces(event)
    ]
    texts = [json.loads(piece.removeprefix(b"data: "))["choices"][0]["text"] for piece in pieces]
    assert texts == ["Once", " a", " b", ""]
    assert len(writer(prompt="Once").pieces(END)) == 2
    whole = completion("i", "m", [Answer(completed=END, content=" a")], ["Once"], 5)
    assert whole.choices[0].text == "Once a"


def test_log_probabilities_in_the_older_form() -> None:
    assert complete(logprobs=0).requests[0].logprobs
    assert complete(logprobs=2).requests[0].n_top_logprobs == 2
    assert not complete().requests[0].logprobs
    top = (TopLogprob("a", -0.5, b"a"), TopLogprob("b", -1.5, b"b"))
    logprobs = (TokenLogprob("a", -0.5, b"a", top), TokenLogprob("bc", -0.25, b"bc"))
    whole = completion("i", "m", [Answer(completed=END, content="abc", logprobs=logprobs)], [""], 5)
    expected = {
        "tokens": ["a", "bc"],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{"a": -0.5, "b": -1.5}, {}],
        "text_offset": [0, 1],
    }
    assert json.loads(encode(whole.choices[0].logprobs)) == expected
    streaming = writer()
    pieces = [
        *streaming.pieces(Chunk(content="a", logprobs=logprobs[:1])),
        *streaming.pieces(Chunk(content="bc", logprobs=logprobs[1:])),
    ]
    offsets = [
        json.loads(piece.removeprefix(b"data: "))["choices"][0]["logprobs"]["text_offset"] for piece in pieces
    ]
    assert offsets == [[0], [1]]


def test_log_probabilities_of_a_prompt_stand_in_front() -> None:
    call = complete(prompt="It is", echo=True, logprobs=1, max_tokens=0)
    (request,) = call.requests
    assert (request.prompt_logprobs, request.raw, request.truncate, request.zero_is_none) == (True,) * 2 + (
        False,
        True,
    )
    assert not complete(echo=True).requests[0].prompt_logprobs
    assert not complete(logprobs=1).requests[0].raw
    top = (TopLogprob(" was", -0.5, b" was"),)
    scored = PromptLogprobs("It", False, (TokenLogprob(" is", -1.5, b" is", top),))
    said = (TokenLogprob("!", -0.25, b"!"),)
    expected = {
        "tokens": ["It", " is", "!"],
        "token_logprobs": [None, -1.5, -0.25],
        "top_logprobs": [None, {" was": -0.5}, {}],
        "text_offset": [0, 2, 5],
    }
    answer = Answer(completed=END, content="!", logprobs=said, prompt_logprobs=scored)
    whole = completion("i", "m", [answer], ["It is"], 5)
    assert whole.choices[0].text == "It is!"
    assert json.loads(encode(whole.choices[0].logprobs)) == expected
    streaming = writer(prompt="It is")
    pieces = [
        *streaming.pieces(Chunk(prompt_logprobs=scored)),
        *streaming.pieces(Chunk(content="!", logprobs=said)),
    ]
    choices = [json.loads(piece.removeprefix(b"data: "))["choices"][0] for piece in pieces]
    assert [choice["text"] for choice in choices] == ["It is", "!"]
    for key in ("tokens", "token_logprobs", "text_offset"):
        assert choices[0]["logprobs"][key] + choices[1]["logprobs"][key] == expected[key]
    added = PromptLogprobs("<s>", True, scored.rest)
    assert json.loads(encode(logprobs_body((), added)[0]))["text_offset"] == [0, 0]


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("a", ("a",)),
        ("", ("",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_inputs(value: Any, inputs: Any) -> None:
    assert embed(input=value).request.inputs == inputs


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "invalid input"),
        (None, "invalid input"),
        (1, "invalid input type"),
        (["a", 1], "invalid input type"),
        ([[]], "invalid input type"),
        ([1.5], "invalid input type"),
        ([-1], "invalid input type"),
        ([True], "invalid input type"),
        ([2**31], "invalid input type"),
    ],
)
def test_inputs_that_are_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        embed(input=value)
    assert caught.value.message == message


@pytest.mark.parametrize(("name", "as_base64"), [("", False), ("float", False), ("Base64", True)])
def test_encodings(name: str, as_base64: bool) -> None:
    assert embed(input="a", encoding_format=name).as_base64 == as_base64


def test_an_unknown_encoding() -> None:
    with pytest.raises(InvalidRequest) as caught:
        embed(input="a", encoding_format="hex")
    expected = "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."
    assert caught.value.message == expected


def test_vectors() -> None:
    vector = struct.pack("<3f", 0.1, -0.2, 0.3)
    result = EmbedResult(vectors=(vector,), n_prompt_tokens=4)
    assert encode(embeddings_reply("m", result, as_base64=True)).decode() == (
        '{"object":"list","data":[{"object":"embedding","embedding":"zczMPc3MTL6amZk+","index":0}],'
        '"model":"m","usage":{"prompt_tokens":4,"total_tokens":4}}'
    )
    (datum,) = json.loads(encode(embeddings_reply("m", result, as_base64=False)))["data"]
    assert struct.pack("<3f", *datum["embedding"]) == vector
    assert base64.b64encode(vector) == b"zczMPc3MTL6amZk+"


def test_models() -> None:
    summary = ModelSummary(
        name="me/m:latest", namespace="me", digest="", size_bytes=1, modified_at=5.9, details=ModelDetails()
    )
    assert encode(models_reply((summary,))).decode() == (
        '{"object":"list","data":[{"id":"me/m:latest","object":"model","created":5,"owned_by":"me"}]}'
    )
    assert encode(models_reply(())) == b'{"object":"list","data":null}'
    info = ModelInfo(name="m:latest", modelfile="", details=ModelDetails(), modified_at=7.0)
    assert encode(model_reply("m", info)).decode() == (
        '{"id":"m","object":"model","created":7,"owned_by":"library"}'
    )


@given(st.binary())
def test_no_body_raises_anything_but_invalid_request(body: bytes) -> None:
    for read in (completion_from_body, embeddings_from_body):
        try:
            read(body, Origin())
        except InvalidRequest as error:
            assert error.message
