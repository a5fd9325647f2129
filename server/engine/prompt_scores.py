"""Log probabilities of a prompt's tokens, made of a step's rows at once, so that no more rows are held."""

from __future__ import annotations

from server.engine.context import Rows
from server.engine.generation import Generation
from server.engine.logprobs import token_logprob, token_text
from server.engine.model import Model
from server.engine.sequence import Chunk
from server.types.generation import PromptLogprobs


def score(generation: Generation, model: Model, chunk: Chunk, rows: Rows) -> int:
    """Read the rows of a part of a prompt, which all have logits, before the part is recorded.

    A row tells of the token behind it. With the last part `generation.scored` is complete.

    Args:
        rows: [chunk.n_tokens, n_vocab] float32.

    Returns:
        How many rows were read: all but the prompt's last one, which the answer begins with.
    """
    sequence = generation.sequence
    n = chunk.n_tokens - chunk.is_last
    if generation.has_begun:  # it made way for others, and comes again with a part of its answer
        return n
    start = sequence.n_prefilled
    del generation.scores[start:]
    for row, token in zip(rows, sequence.tokens[start + 1 : start + 1 + n].tolist(), strict=False):
        generation.scores.append(token_logprob(model, row, token, generation.params.n_top_logprobs))
    if chunk.is_last:
        generation.scored = PromptLogprobs(
            token_text(model, int(sequence.tokens[0])),
            generation.is_first_added,
            tuple(generation.scores),
        )
        generation.scores.clear()
    return n
