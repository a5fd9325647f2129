"""Log probabilities of a token and its likeliest alternatives, from the logits before sampling."""

from __future__ import annotations

import math

import numpy as np

from server.engine.candidates import Row, top_ids
from server.engine.model import Model
from server.types.generation import TokenLogprob, TopLogprob


def token_logprob(model: Model, row: Row, token: int, n_top: int) -> TokenLogprob:
    """The token's log probability in a row, and the `n_top` likeliest tokens, best first."""
    best = row.max()
    log_sum = float(best) + math.log(np.exp(row - best).sum())
    text, piece = _text(model, token)
    top: list[TopLogprob] = []
    if n_top:
        ids = top_ids(row, n_top)
        if ids is None:
            ids = np.argpartition(row, -min(n_top, len(row)))[-min(n_top, len(row)) :].astype(np.int32)
        for alternative in ids[np.argsort(-row[ids], kind="stable")][:n_top]:
            other_text, other_piece = _text(model, int(alternative))
            top.append(TopLogprob(other_text, float(row[alternative]) - log_sum, other_piece))
    return TokenLogprob(text, float(row[token]) - log_sum, piece, tuple(top))


def token_text(model: Model, token: int) -> str:
    """A token's text, never empty."""
    return _text(model, token)[0]


def _text(model: Model, token: int) -> tuple[str, bytes]:
    """A token's text, never empty, and its bytes; special tokens show their names."""
    piece = model.piece(token, special=True)
    return piece.decode("utf-8", "replace") or f"[{token}]", piece
