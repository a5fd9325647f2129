"""From the pieces of a prompt to its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from server.engine.batch import TokenArray
from server.engine.failures import BadRequest
from server.engine.media import Media, MediaPrompt, joined
from server.engine.model import Model
from server.types.generation import MediaFile

PromptPieces = tuple[str | tuple[int, ...] | MediaFile, ...]
"""Texts, tokenised with special tokens recognised, runs of token ids, and picture and sound files."""


def prompt_tokens(model: Model, pieces: PromptPieces, media: Sequence[Media] = ()) -> MediaPrompt:
    """Tokens of the pieces in order; BOS goes in front of a text at the start, where the model wants it.

    `media`: what was made of the files among them, in order.
    Raises: BadRequest when there are none, or for an id that the vocabulary does not have.
    """
    parts: list[TokenArray | Media] = []
    made = iter(media)
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            parts.append(model.tokenize(piece, add_special=index == 0))
        elif isinstance(piece, MediaFile):
            if index == 0:  # a prompt that begins with a picture has its BOS all the same
                parts.append(model.tokenize("", add_special=True))
            parts.append(_made_of(next(made, None)))
        else:
            parts.append(token_array(model, piece))
    prompt = joined(parts)
    if len(prompt.tokens):
        return prompt
    if not 0 <= model.bos < model.n_vocab:
        raise BadRequest("the prompt is empty")
    return MediaPrompt(np.array([model.bos], np.int32))


def _made_of(media: Media | None) -> Media:
    if media is None:
        raise BadRequest("the model takes no pictures or sounds")
    return media


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
