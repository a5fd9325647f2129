"""From the pieces of a prompt to its tokens."""

from __future__ import annotations

import numpy as np

from server.engine.batch import TokenArray
from server.engine.failures import BadRequest
from server.engine.model import Model

PromptPieces = tuple[str | tuple[int, ...], ...]
"""Texts, tokenised with special tokens recognised, and runs of token ids."""


def prompt_tokens(model: Model, pieces: PromptPieces) -> TokenArray:
    """Tokens of the pieces in order; BOS goes in front of a text at the start, where the model wants it.

    Raises: BadRequest when there are none, or for an id that the vocabulary does not have.
    """
    parts: list[TokenArray] = []
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            parts.append(model.tokenize(piece, add_special=index == 0))
        else:
            parts.append(token_array(model, piece))
    tokens = np.concatenate(parts) if parts else np.empty(0, np.int32)
    if len(tokens):
        return tokens
    if not 0 <= model.bos < model.n_vocab:
        raise BadRequest("the prompt is empty")
    return np.array([model.bos], np.int32)


def token_array(model: Model, ids: tuple[int, ...]) -> TokenArray:
    """Token ids as an array. Raises: BadRequest for an id that the vocabulary does not have."""
    if ids and not (0 <= min(ids) and max(ids) < model.n_vocab):
        raise BadRequest(f"a token id is not in the model's vocabulary of {model.n_vocab} tokens")
    return np.array(ids, np.int32)


def control_tokens(model: Model, texts: tuple[str, ...]) -> dict[int, str]:
    """Control tokens among the texts, by id. They have no text of their own, so no stop text matches them."""
    found: dict[int, str] = {}
    for text in texts:
        tokens = model.tokenize(text) if text else np.empty(0, np.int32)
        if len(tokens) == 1 and model.is_control(int(tokens[0])):
            found[int(tokens[0])] = text
    return found
