"""A context on its own."""

from __future__ import annotations

import numpy as np
import pytest

from server.engine.context import Context, Decoded, Rows
from server.engine.model import Model
from tests.engine.conftest import MakeEngine

N_KEPT, N_DROPPED = 4, 90


def _decode(context: Context, tokens: list[int], first_pos: int, seq_id: int = 0) -> Decoded:
    context.batch.clear()
    context.batch.add(seq_id, np.array(tokens, np.int32), first_pos, output="last")
    return context.decode()


def _logits_behind_a_shift(context: Context, *, is_aborted: bool) -> Rows:
    prompt = list(range(10, 210))
    assert _decode(context, prompt, 0) is Decoded.DONE
    assert context.shift(0, N_KEPT, N_DROPPED)
    n = len(prompt) - N_DROPPED
    if is_aborted:
        context.abort_step()
        _decode(context, [7], n)
        context.remove(0, n)
        context.reset_abort()
    assert _decode(context, [7], n) is Decoded.DONE
    return context.logits().copy()


def test_an_abort_does_not_shift_twice(make_engine: MakeEngine, spark_f16: Model) -> None:
    """llama.cpp begins a shift that was cut off once more, on keys that are turned already."""
    context = make_engine(spark_f16, n_ctx=256, n_slots=1).context
    wanted = _logits_behind_a_shift(context, is_aborted=False)
    context.clear()
    found = _logits_behind_a_shift(context, is_aborted=True)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_an_abort_ends_a_step_without_shifts(make_engine: MakeEngine, spark_f16: Model) -> None:
    context = make_engine(spark_f16, n_ctx=256, n_slots=1).context
    _logits_behind_a_shift(context, is_aborted=False)
    context.abort_step()
    assert _decode(context, [7], context.n_cached(0)) is Decoded.ABORTED
    context.reset_abort()


@pytest.mark.parametrize("cells", [{}, {"n_pool_cells": 400}], ids=["streams", "pool"])
def test_a_copy_takes_the_place_of_what_was_there(
    make_engine: MakeEngine, spark_f16: Model, cells: dict[str, int]
) -> None:
    context = make_engine(spark_f16, n_ctx=256, n_slots=2, **cells).context
    for seq_id, first in enumerate((10, 300)):
        assert _decode(context, list(range(first, first + 100)), 0, seq_id) is Decoded.DONE
    context.copy_sequence(0, 1)
    assert _decode(context, [7], 100, 0) is Decoded.DONE
    wanted = context.logits().copy()
    assert _decode(context, [7], 100, 1) is Decoded.DONE
    np.testing.assert_allclose(context.logits(), wanted, atol=1e-3)
