"""The model that tests derive from the bundled one."""

from __future__ import annotations

from server.gguf.reader import GgufArray, GgufHeader, read_header
from tests.support.plain_model import SPARK, plain_model


def elements(header: GgufHeader) -> dict[str, object]:
    return {
        key: header.read_array(key) if isinstance(value, GgufArray) else value
        for key, value in header.metadata.items()
    }


def test_only_the_chat_template_is_gone() -> None:
    spark, plain = read_header(SPARK), read_header(plain_model())
    before, after = elements(spark), elements(plain)
    del before["tokenizer.chat_template"]
    assert after == before
    assert plain.tensors == spark.tensors
    weights = SPARK.read_bytes()[spark.data_offset :]
    assert plain_model().read_bytes()[plain.data_offset :] == weights
