import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state import fit, models
from olla_tui.state.models import ModelQuery
from server.types.models import ModelInfo
from tests.support.workstation_script import (
    FOOTPRINTS,
    GPUS,
    LIBRARY,
    PROCESSOR_ONLY,
    START,
    model,
    running,
)


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
    assert word(9.0, GPUS) == "fits"
    assert word(65.0, GPUS) == "partly"
    assert word(900.0, GPUS) == "no"
    assert word(65.0, PROCESSOR_ONLY) == "fits"
    assert word(1.0, ()) == "?"


def word(size, devices):
    return fit.fit_of(model("m:1", size, "1B", "Q4_0"), None, devices, 4096).word


def test_a_fit_is_never_told_by_colour_alone():
    for name, size in (("fits", 9.0), ("partly", 65.0), ("no", 900.0)):
        found = fit.fit_of(model("m:1", size, "1B", "Q4_0"), None, GPUS, 4096)
        assert fit.fit_words(found)[0].split()[1] == name


def test_a_longer_context_needs_more_and_a_partly_fit_says_how_much_is_on_gpus():
    qwen, shape = LIBRARY[0], FOOTPRINTS[LIBRARY[0].name].shape
    short, long = (fit.fit_of(qwen, shape, GPUS, n) for n in (4096, 32_768))
    assert long.needed_bytes - short.needed_bytes >= shape.full_bytes_per_token * (32_768 - 4096)
    assert short.is_estimate and fit.fit_sentence(short).endswith("fits")
    partly = fit.fit_of(LIBRARY[3], FOOTPRINTS[LIBRARY[3].name].shape, GPUS, 8192)
    assert partly.word == "partly" and 0.5 < partly.gpu_share < 1 and "on GPUs" in fit.fit_sentence(partly)


def test_nobody_is_asked_about_more_context_than_the_model_was_trained_for():
    spark = LIBRARY[-1]
    assert fit.fit_of(spark, FOOTPRINTS[spark.name].shape, GPUS, 131_072).n_ctx == 2048
    assert [length for length, _ in fit.what_if_lines(spark, None, GPUS)] == ["2k"]
    assert [length for length, _ in fit.what_if_lines(LIBRARY[0], None, GPUS)] == ["4k", "8k", "16k", "32k"]


@given(st.sampled_from(fit.CONTEXTS), st.sampled_from([1, -1]))
def test_the_contexts_go_round(n_ctx, step):
    assert fit.next_context(fit.next_context(n_ctx, step), -step) == n_ctx


WORDS = st.lists(st.sampled_from(["qwen", "q4", "tools", "!think", "!", "7b", "zzz", "3"]), max_size=3)


@given(WORDS, st.sampled_from(models.SORT_KEYS), st.booleans())
def test_a_prepared_library_finds_what_a_plain_look_finds(words, sort, descending):
    query = ModelQuery(" ".join(words), sort, descending)
    library = models.Library()
    library.take(LIBRARY)
    found = library.select(query)
    expected = {
        entry.name
        for entry in LIBRARY
        if all(
            (word[1:] not in models.haystack(entry))
            if word[1:] and word[0] == "!"
            else word in models.haystack(entry)
            for word in words
        )
    }
    assert {entry.name for entry in found} == expected
    keys = {
        "name": lambda entry: entry.name,
        "size": lambda entry: entry.size_bytes,
        "params": lambda entry: models.parameter_count(entry.details.parameter_size),
        "modified": lambda entry: entry.modified_at,
    }
    values = [keys[sort](entry) for entry in found]
    assert values == sorted(values, reverse=descending)
    assert library.select(query) is found, "the same question costs nothing"


def test_another_list_is_looked_through_anew():
    library = models.Library()
    library.take(LIBRARY)
    assert len(library.select(ModelQuery("spark"))) == 1
    library.take(LIBRARY[:2])
    assert library.select(ModelQuery("spark")) == []


def test_details_tell_what_is_shared_what_was_measured_and_the_template():
    qwen = LIBRARY[0]
    info = ModelInfo(
        name=qwen.name, modelfile="", details=qwen.details, template="{{ .System }}\n{{ .Prompt }}"
    )
    lines = models.detail_lines(qwen, info, None, START, footprint=FOOTPRINTS[qwen.name], tokens_per_s=41.3)
    found = dict(lines)
    assert found["on disk"] == "1.2 kB own, 9.3 GB shared" and found["shared with"] == "coder:latest"
    assert found["measured"] == "41.3 tok/s"
    assert models.text_sections(info) == [("Template", ["{{ .System }}", "{{ .Prompt }}"])]


def test_other_tags_are_those_of_the_same_repository():
    names = ("qwen3:8b", "qwen3:14b", "qwen3-coder:8b", "other/qwen3:8b")
    replace = msgspec.structs.replace
    found = [replace(LIBRARY[0], name=name, namespace=name.rpartition("/")[0] or "library") for name in names]
    assert models.other_tags(found[1], found) == ["8b"]
    assert models.other_tags(found[2], found) == []


def test_details_name_what_is_loaded_and_what_the_model_file_says():
    qwen = LIBRARY[0]
    info = ModelInfo(
        name=qwen.name,
        modelfile="",
        details=qwen.details,
        license="\nMIT\n",
        parameters="stop  x",
        system="Be",
    )
    lines = models.detail_lines(qwen, info, running(qwen.name), START)
    assert ("licence", "MIT") in lines
    assert ("parameter", "stop x") in lines
    assert models.text_sections(info) == [("System", ["Be"]), ("Licence", ["MIT"])]
    assert dict(lines)["loaded"] == "12.3 GB, 4 slots"
    assert dict(models.detail_lines(qwen, None, None, START))["changed"] == "1 h ago"
