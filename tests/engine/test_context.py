"""A context on its own."""

from __future__ import annotations

import numpy as np

from server.engine.context import Context, Decoded, Rows
from server.engine.model import Model
from tests.engine.conftest import MakeEngine

N_KEPT, N_DROPPED = 4, 90


def _decode(context: Context, tokens: list[int], first_pos: int) -> Decoded:
    context.batch.clear()
    context.batch.add(0, np.array(tokens, np.int32), first_pos, output="last")
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
