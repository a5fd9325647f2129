"""llama.cpp's own reading of GBNF: whether a grammar accepts a text."""

from __future__ import annotations

import ctypes
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama_cpp

from server.prompts.grammar import grammar_for

MODEL = Path(__file__).parents[2] / "server" / "bundled" / "spark.gguf"


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[Any, Any]:
    """The vocabulary of the bundled model, without its weights, and the model that holds it."""
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(MODEL).encode(), params)
    assert model
    return llama_cpp.llama_model_get_vocab(model), model


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """Swallows llama.cpp's log, which names each refused grammar."""


class GrammarMatcher:
    """A grammar that texts can be tried on. Raises ValueError for a grammar that llama.cpp does not parse."""

    def __init__(self, grammar: str) -> None:
        self._vocab, _ = _vocabulary()
        self._sampler = llama_cpp.llama_sampler_init_grammar(self._vocab, grammar.encode(), b"root")
        if not self._sampler:
            raise ValueError("llama.cpp does not parse the grammar")

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._sampler)

    def accepts(self, text: str) -> bool:
        """Whether the text is a whole sentence of the grammar."""
        llama_cpp.llama_sampler_reset(self._sampler)
        for token in self._tokens(text):
            if not self._allows(token):
                return False
            llama_cpp.llama_sampler_accept(self._sampler, token)
        return self._allows(llama_cpp.llama_vocab_eos(self._vocab))

    def _tokens(self, text: str) -> list[int]:
        data = text.encode()
        tokens = (llama_cpp.llama_token * (len(data) + 1))()
        n = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, len(tokens), False, False)
        assert n >= 0
        return list(tokens[:n])

    def _allows(self, token: int) -> bool:
        candidate = (llama_cpp.llama_token_data * 1)(llama_cpp.llama_token_data(token, 0.0, 0.0))
        array = llama_cpp.llama_token_data_array(data=candidate, size=1, selected=-1, sorted=False)
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return bool(candidate[0].logit == 0.0)


def accepts(grammar: str, text: str) -> bool:
    """Whether a grammar accepts a text."""
    matcher = GrammarMatcher(grammar)
    try:
        return matcher.accepts(text)
    finally:
        matcher.close()


def check(format: Any, good: list[str], bad: list[str]) -> None:
    """The grammar of the format accepts exactly the good texts."""
    matcher = GrammarMatcher(grammar_for(format))
    try:
        assert [text for text in good if not matcher.accepts(text)] == []
        assert [text for text in bad if matcher.accepts(text)] == []
    finally:
        matcher.close()


def texts(*values: Any) -> list[str]:
    return [json.dumps(value, ensure_ascii=False) for value in values]
