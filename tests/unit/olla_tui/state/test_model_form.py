import pytest

from olla_tui.state.model_form import copy_problem, form_problem, read_parameters, request_of
from server.errors import InvalidRequest


def values(**changed):
    return {"model": "mine", "base": "spark", "system": "", "parameters": "", **changed}


def test_a_form_becomes_a_request():
    request = request_of(values(system=" Be. ", parameters="temperature 0.6, num_ctx 8192, stop A, stop B"))
    assert (request.model, request.base, request.system) == ("mine:latest", "spark:latest", "Be.")
    assert request.parameters == {"temperature": 0.6, "num_ctx": 8192, "stop": ["A", "B"]}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": " "}, "needs a name"),
        ({"model": "a b"}, "the name is no model's name"),
        ({"base": ""}, "a model to start from is needed"),
        ({"base": "/"}, "the model to start from is no model's name"),
        ({"parameters": "temperature"}, "temperature needs a value"),
        ({"parameters": "temperature hot"}, "invalid float value [hot]"),
        ({"parameters": "nonsense 1"}, "nonsense"),
    ],
)
def test_what_is_wrong_with_a_form(changed, words):
    assert words in form_problem(values(**changed))


def test_nothing_is_wrong_with_a_good_one():
    assert form_problem(values()) == ""
    assert read_parameters("") == {}
    with pytest.raises(InvalidRequest):
        read_parameters("x y")


@pytest.mark.parametrize(
    ("text", "words"), [("", "needed"), ("a b", "no model's name"), ("SPARK:latest", "the name that it has")]
)
def test_names_that_a_copy_cannot_have(text, words):
    assert words in copy_problem(text, "spark")
    assert copy_problem("other", "spark") == ""
