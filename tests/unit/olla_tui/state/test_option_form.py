import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state.conversation import Conversation
from olla_tui.state.option_form import fields, options_text, parse_field, parse_form, value_text
from server.errors import InvalidOption
from server.types.options import OPTION_BY_NAME, OPTIONS, parse_options


def test_every_option_has_one_field():
    names = [field.spec.name for _, group in fields({}) for field in group]
    assert sorted(names) == sorted(spec.name for spec in OPTIONS)


def test_a_form_gives_back_what_it_was_made_of():
    options = parse_options({"top_k": 20, "temperature": 0.3, "stop": ["a", "b"], "deterministic": True})
    texts = {field.spec.name: field.text for _, group in fields(options) for field in group}
    assert parse_form(texts) == options


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("top_k", "many", "top_k must be a whole number"),
        ("top_k", "-1", "top_k must be 0 or more"),
        ("top_p", "1.5", "top_p must be 0 to 1"),
        ("temperature", "nan", "temperature must be 0 or more"),
        ("temperature", "inf", "temperature must be 0 or more"),
        ("seed", "9" * 30, "seed must be a smaller number"),
        ("deterministic", "perhaps", "deterministic must be true or false"),
    ],
)
def test_what_is_wrong_is_said(name, text, reason):
    with pytest.raises(InvalidOption) as caught:
        parse_form({name: text})
    assert caught.value.message == reason


@given(st.sampled_from(OPTIONS), st.text(max_size=12))
def test_any_text_is_a_value_that_requests_take_or_is_refused(spec, text):
    try:
        value = parse_field(spec, text)
    except InvalidOption:
        return
    if value is not None:
        assert spec.name in parse_options({spec.name: value})
    if value is not None and spec.type != "float":
        assert parse_field(spec, value_text(value)) == value


def test_settings_in_short():
    chat = Conversation(id="1")
    assert options_text(chat, 30) == "options"
    chat.options, chat.system = {"temperature": 0.2, "top_k": 5, "seed": 7}, "Be brief."
    assert options_text(chat, 30) == "system, top_k 5, seed 7"
    assert options_text(chat, 12) == "system, top…"
    assert OPTION_BY_NAME["top_k"].sampling
