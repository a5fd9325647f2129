import pytest

from olla_tui.state import models
from olla_tui.state.models import ModelQuery
from server.types.models import ModelInfo
from tests.support.workstation_script import GPUS, LIBRARY, PROCESSOR_ONLY, START, running


def names(query):
    return [model.name.split(":")[0] for model in models.select(LIBRARY, query)]


def test_newest_first_is_the_default():
    assert names(ModelQuery()) == ["spark", "qwen3", "llama3.2", "nomic-embed-text", "gpt-oss"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("qwen", ["qwen3"]),
        ("Q4_K_M tools", ["qwen3", "llama3.2"]),
        ("thinking !gpt", ["qwen3"]),
        ("embedding", ["nomic-embed-text"]),
        ("nothing", []),
        ("!", []),
    ],
)
def test_all_words_of_a_filter_must_occur(text, found):
    assert names(ModelQuery(text)) == found


def test_sorting_by_size_and_parameters():
    assert names(ModelQuery(sort="size"))[0] == "gpt-oss"
    assert names(ModelQuery(sort="params", descending=False))[0] == "spark"
    assert names(ModelQuery(sort="name", descending=False))[0] == "gpt-oss"
    assert names(ModelQuery(sort="name", descending=True))[0] == "spark"


def test_the_sort_order_goes_through_all_columns_and_back():
    query = ModelQuery("text")
    seen = []
    for _ in models.SORT_KEYS:
        query = models.next_sort(query, 1)
        seen.append(query.sort)
    assert sorted(seen) == sorted(models.SORT_KEYS)
    assert models.next_sort(models.next_sort(query, 1), -1).sort == query.sort
    assert query.text == "text"


@pytest.mark.parametrize(
    ("text", "count"), [("7.2B", 7.2e9), ("135M", 135e6), ("1.5T", 1.5e12), ("", 0), ("many", 0)]
)
def test_parameter_counts(text, count):
    assert models.parameter_count(text) == count


def test_whether_a_model_fits():
    assert models.fits(int(9e9), GPUS) == "ok"
    assert models.fits(int(65e9), GPUS) == "part"
    assert models.fits(int(900e9), GPUS) == "no"
    assert models.fits(int(65e9), PROCESSOR_ONLY) == "ok"
    assert models.fits(1, ()) == "?"


def test_a_fit_is_never_told_by_colour_alone():
    texts = [models.fit_text(fit)[0] for fit in ("ok", "part", "no")]
    assert [text.split()[1] for text in texts] == ["ok", "part", "no"]


def test_details_name_what_is_loaded_and_what_the_model_file_says():
    model = LIBRARY[0]
    info = ModelInfo(
        name=model.name,
        modelfile="",
        details=model.details,
        license="\nMIT\n",
        parameters="stop  x",
        system="Be",
    )
    lines = models.detail_lines(model, info, running(model.name), START)
    assert ("licence", "MIT") in lines
    assert ("parameter", "stop x") in lines
    assert ("system", "Be") in lines
    assert dict(lines)["loaded"] == "12.3 GB, 4 slots"
    assert dict(models.detail_lines(model, None, None, START))["changed"] == "1 h ago"
