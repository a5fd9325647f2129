"""What `olla show` prints, section by section."""

from __future__ import annotations

from typing import Any

import pytest

from olla_tui.cli.details import describe_model, go_g, metadata_text

DETAILS = {"family": "test", "parameter_size": "7B", "quantization_level": "FP16"}
BARE = "  Model\n    architecture    test    \n    parameters      7B      \n    quantization    FP16    \n\n"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, ""),
        (
            {"parameters": "stop    never\nstop    up\ntemperature 99"},
            "  Parameters\n    stop           never    \n    stop           up       \n"
            "    temperature    99       \n\n",
        ),
        (
            {"system": "You are a pirate!\nAhoy, matey!\nWeigh anchor!\n"},
            "  System\n    You are a pirate!    \n    Ahoy, matey!         \n    ...                  \n\n",
        ),
        (
            {"license": "MIT License\n\nCopyright (c) Ollama\n"},
            "  License\n    MIT License             \n    Copyright (c) Ollama    \n\n",
        ),
        ({"capabilities": ["vision", "tools"]}, "  Capabilities\n    vision    \n    tools     \n\n"),
        (
            {
                "projector_info": {
                    "general.architecture": "clip",
                    "general.parameter_count": 133_700_000,
                    "clip.vision.embedding_length": 0,
                    "clip.vision.projection_dim": 0,
                }
            },
            "  Projector\n    architecture        clip       \n    parameters          133.70M    \n"
            "    embedding length    0          \n    dimensions          0          \n\n",
        ),
    ],
)
def test_sections(more: dict[str, Any], text: str) -> None:
    assert describe_model({"details": DETAILS, **more}) == BARE + text


def test_numbers_of_the_model() -> None:
    info = {
        "details": DETAILS,
        "model_info": {
            "general.architecture": "test",
            "test.context_length": 0,
            "test.embedding_length": 384,
        },
        "requires": "0.19.0",
    }
    assert describe_model(info).splitlines() == [
        "  Model",
        "    architecture        test      ",
        "    parameters          7B        ",
        "    context length      0         ",
        "    embedding length    384       ",
        "    quantization        FP16      ",
        "    requires            0.19.0    ",
        "",
    ]


def test_the_size_is_counted_where_it_is_not_told() -> None:
    info = {"details": {}, "model_info": {"general.architecture": "t", "general.parameter_count": 5_770_000}}
    assert "    parameters      5.77M    \n" in describe_model(info)


def test_metadata_and_tensors_are_for_the_curious() -> None:
    info = {
        "details": DETAILS,
        "model_info": {"b": True, "a": 8_000_000_000},
        "tensors": [{"name": "blk.0.attn_k.weight", "type": "BF16", "shape": [42, 3117]}],
    }
    assert "Metadata" not in describe_model(info)
    assert describe_model(info, verbose=True).endswith(
        "  Metadata\n    a    8e+09    \n    b    true     \n\n"
        "  Tensors\n    blk.0.attn_k.weight    BF16    [42 3117]    \n\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (11434.0, "11434"),
        (131072.0, "131072"),
        (1048576.0, "1.048576e+06"),
        (8e9, "8e+09"),
        (1e-5, "1e-05"),
        (0.0001, "0.0001"),
        (-2.5, "-2.5"),
        (1.5e300, "1.5e+300"),
    ],
)
def test_numbers_are_gos(value: float, text: str) -> None:
    assert go_g(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "[]"),
        ([1, 2], "[1 2]"),
        (["<unk>", "<s>", "</s>", "a"], "[<unk> ...+3 more]"),
        (["a-very-long-token", "b"], "[a-very-long-token ...+1 more]"),
        (None, "<nil>"),
        (False, "false"),
        ("x", "x"),
    ],
)
def test_metadata_values(value: object, text: str) -> None:
    assert metadata_text(value) == text
