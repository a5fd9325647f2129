"""The table of options: what requests, Modelfiles and people may write."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidOption
from server.types.generation import SamplingParams
from server.types.options import (
    OPTION_BY_NAME,
    OPTIONS,
    parse_option_text,
    parse_options,
    sampling_params,
    unknown_options,
)


def test_every_sampling_option_is_a_field_with_the_same_default() -> None:
    fields = {field.name: field.default for field in msgspec.structs.fields(SamplingParams)}
    for spec in OPTIONS:
        if spec.sampling:
            assert fields[spec.sampling] == spec.default, spec.name


def test_names_are_unique() -> None:
    assert len(OPTION_BY_NAME) == len(OPTIONS)


def test_numbers_are_cut_toward_zero_and_none_is_left_out() -> None:
    assert parse_options({"num_predict": 3.9, "top_k": None, "seed": -1.5}) == {"num_predict": 3, "seed": -1}


def test_unknown_names_are_ignored_and_listed() -> None:
    assert parse_options({"nonsense": 1}) == {}
    assert unknown_options({"nonsense": 1, "top_k": 3}) == ("nonsense",)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"num_ctx": True}, 'option "num_ctx" must be of type integer'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": ["x", 1]}, 'option "stop" must be of an array of strings'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"top_p": float("nan")}, 'option "top_p" must be of type float32'),
    ],
)
def test_wrong_types_in_ollama_s_words(raw: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_options(raw)
    assert caught.value.message == message


def test_sampling_params_take_what_is_set() -> None:
    params = sampling_params(parse_options({"num_keep": 7, "stop": ["a"], "temperature": 0, "num_ctx": 9}))
    assert (params.n_keep, params.stop, params.temperature, params.top_k) == (7, ("a",), 0.0, 40)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("num_ctx", 10**399, None),
        ("num_ctx", 2**63, 2**31 - 1),
        ("num_thread", -(2**40), -(2**31)),
        ("temperature", 1e308, (2 - 2**-23) * 2.0**127),
        ("seed", 2**32 + 7, 7),
        ("seed", 2**31, 2**31),
        ("seed", -1, -1),
    ],
)
def test_numbers_are_held_to_what_the_engine_takes(name: str, value: float, kept: float | None) -> None:
    if kept is None:
        with pytest.raises(InvalidOption):
            parse_options({name: value})
    else:
        assert parse_options({name: value}) == {name: kept}


@pytest.mark.parametrize(
    ("name", "texts", "value"),
    [
        ("num_ctx", ["4096"], 4096),
        ("temperature", ["1"], 1.0),
        ("stop", ["a", "b"], ("a", "b")),
        ("use_mmap", ["T"], True),
        ("use_mmap", ["False"], False),
    ],
)
def test_options_written_by_people(name: str, texts: list[str], value: object) -> None:
    assert parse_option_text(name, texts) == value


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("nosuch", ["1"], "unknown parameter 'nosuch'"),
        ("temperature", ["1 # hot"], "invalid float value [1 # hot]"),
        ("num_ctx", ["x"], "invalid int value [x]"),
        ("use_mmap", ["yes"], "invalid bool value [yes]"),
    ],
)
def test_bad_options_written_by_people(name: str, texts: list[str], message: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_option_text(name, texts)
    assert caught.value.message == message


@given(st.dictionaries(st.sampled_from([spec.name for spec in OPTIONS]), st.from_type(object) | st.none()))
def test_never_raises_anything_but_invalid_option(raw: dict[str, object]) -> None:
    try:
        parse_options(raw)
    except InvalidOption:
        pass
