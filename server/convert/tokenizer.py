"""Tokenizers of Hugging Face's layout as GGUF's metadata.

Three kinds: byte-level BPE (`gpt2` for llama.cpp), SentencePiece and BPE with byte fallback (`llama`),
WordPiece (`bert`). How a byte-level one cuts a text before it merges must have a name that llama.cpp knows;
it is told by the regular expression in tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.convert.config import Files
from server.convert.sentencepiece import read_pieces
from server.errors import BadModelFile, InvalidRequest
from server.gguf.writer import Value

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_PAD_SCORE, _ADDED_SCORE = -10000.0, -1000.0
_META_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = rf"{_CONTRACTIONS}{_WORDS}|\p{{N}}{_REST}"
_CL100K = rf"{_CONTRACTIONS}{_WORDS}|\p{{N}}{{1,3}}{_REST}"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_TEKKEN = "".join(_CASED) + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_O200K = (
    "".join(part + _ENDINGS for part in _CASED)
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Names of special tokens in tokenizer_config.json, and their keys in GGUF.
_SPECIAL = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",
    "pad": "padding_token_id",
    "cls": "cls_token_id",
    "mask": "mask_token_id",
}


class Vocabulary:
    """Tokens by id with their types and, where there are any, scores."""

    def __init__(self, n_tokens: int) -> None:
        self.tokens = [f"[PAD{i}]" for i in range(n_tokens)]
        self.kinds = [UNUSED] * n_tokens
        self.scores = [_PAD_SCORE] * n_tokens

    def set(self, token_id: Any, text: Any, kind: int, score: float = 0.0) -> None:
        """Give an id its token; one beyond the model's vocabulary is left out."""
        if isinstance(token_id, int) and isinstance(text, str) and 0 <= token_id < len(self.tokens):
            self.tokens[token_id], self.kinds[token_id], self.scores[token_id] = text, kind, score

    def metadata(self, model: str, pre: str, *, scores: bool) -> dict[str, Value]:
        """The keys that every tokenizer has."""
        found = {
            "tokenizer.ggml.model": Value("str", model),
            "tokenizer.ggml.pre": Value("str", pre),
            "tokenizer.ggml.tokens": Value("str", self.tokens),
        }
        if scores:
            found["tokenizer.ggml.scores"] = Value("f32", self.scores)
        return found | {"tokenizer.ggml.token_type": Value("i32", self.kinds)}


def tokenizer_metadata(files: Files, n_vocab: int) -> dict[str, Value]:
    """Everything below `tokenizer.` of a model with so many rows in its embedding.

    Raises: BadModelFile for files that are damaged or missing, InvalidRequest for a kind that is not known.
    """
    tokenizer, config = files.json("tokenizer.json"), files.json("tokenizer_config.json")
    model = _mapping(tokenizer.get("model"))
    kind = model.get("type") or ("BPE" if "merges" in model else "")
    if "tokenizer.model" in files.paths:
        found = _sentencepiece(files, tokenizer, config, n_vocab)
    elif kind == "BPE" and model.get("byte_fallback"):
        found = _byte_fallback(tokenizer, model, n_vocab)
    elif kind == "BPE":
        found = _byte_level(tokenizer, model, n_vocab)
    elif kind == "WordPiece":
        found = _word_piece(tokenizer, model, n_vocab)
    elif not tokenizer:
        raise BadModelFile("the model has no tokenizer.json and no tokenizer.model")
    else:
        raise InvalidRequest(f"tokenizers of the kind {kind or 'that has no name'} cannot be converted")
    tokens = found["tokenizer.ggml.tokens"].value
    found |= _special_tokens(files, config, tokens)
    found |= _added_ends(tokenizer, config)
    template = _chat_template(files, config)
    return found | ({"tokenizer.chat_template": Value("str", template)} if template else {})


def _byte_level(tokenizer: Mapping[str, Any], model: Mapping[str, Any], n_vocab: int) -> dict[str, Value]:
    vocabulary = Vocabulary(n_vocab)
    for text, token_id in _items(model.get("vocab")):
        vocabulary.set(token_id, text, NORMAL)
    _add_added(vocabulary, tokenizer)
    found = vocabulary.metadata("gpt2", pre_tokenizer(tokenizer), scores=False)
    return found | {"tokenizer.ggml.merges": Value("str", _merges(model))}


def _byte_fallback(tokenizer: Mapping[str, Any], model: Mapping[str, Any], n_vocab: int) -> dict[str, Value]:
    """Without scores of their own, pieces that came first in training go first."""
    vocabulary = Vocabulary(n_vocab)
    unknown = model.get("unk_token")
    for text, token_id in _items(model.get("vocab")):
        kind = UNKNOWN if text == unknown else NORMAL
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            kind = BYTE
        vocabulary.set(token_id, text, kind, -float(token_id) if isinstance(token_id, int) else 0.0)
    _add_added(vocabulary, tokenizer, keep=(UNKNOWN,))
    return vocabulary.metadata("llama", "default", scores=True)


def _sentencepiece(
    files: Files, tokenizer: Mapping[str, Any], config: Mapping[str, Any], n_vocab: int
) -> dict[str, Value]:
    vocabulary = Vocabulary(n_vocab)
    for token_id, piece in enumerate(read_pieces(files.read("tokenizer.model") or b"")):
        vocabulary.set(token_id, piece.text, piece.kind, piece.score)
    for text, token_id in _items(files.json("added_tokens.json")):
        vocabulary.set(token_id, text, USER_DEFINED, _ADDED_SCORE)
    for number, entry in _items(config.get("added_tokens_decoder")):
        if isinstance(entry, dict) and number.isdecimal():
            _add(vocabulary, int(number), entry)
    if "added_tokens_decoder" not in config:
        _add_added(vocabulary, tokenizer, keep=(UNKNOWN,))
    found = vocabulary.metadata("llama", "default", scores=True)
    add_prefix = config.get("add_prefix_space")
    if isinstance(add_prefix, bool):
        found["tokenizer.ggml.add_space_prefix"] = Value("bool", add_prefix)
    return found


def _word_piece(tokenizer: Mapping[str, Any], model: Mapping[str, Any], n_vocab: int) -> dict[str, Value]:
    vocabulary = Vocabulary(n_vocab)
    for text, token_id in _items(model.get("vocab")):
        vocabulary.set(token_id, text, NORMAL)
    _add_added(vocabulary, tokenizer)
    # llama.cpp wants pieces that begin a word marked, and not those that go on.
    vocabulary.tokens = [
        text if kind == CONTROL else text[2:] if text.startswith("##") else _META_SPACE + text
        for text, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
    ]
    found = vocabulary.metadata("bert", "jina-v2-en", scores=False)
    normalizer = tokenizer.get("normalizer")
    if isinstance(normalizer, dict) and isinstance(normalizer.get("lowercase"), bool):
        found["tokenizer.ggml.normalizer.lowercase"] = Value("bool", normalizer["lowercase"])
    return found


def pre_tokenizer(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name of how a text is cut. Raises: InvalidRequest for a way that has none here."""
    steps = tokenizer.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps]) if isinstance(steps, dict) else []
    patterns = [
        step["pattern"]["Regex"]
        for step in steps
        if isinstance(step, dict) and isinstance(step.get("pattern"), dict) and "Regex" in step["pattern"]
    ]
    kinds = [step.get("type") for step in steps if isinstance(step, dict)]
    ignores_merges = bool((tokenizer.get("model") or {}).get("ignore_merges"))
    by_patterns = {
        (): "gpt-2" if "Digits" not in kinds else "smollm",
        (_QWEN2,): "qwen2",
        (_CL100K,): "llama-bpe" if ignores_merges else "dbrx",
        (_TEKKEN,): "tekken",
        (_O200K,): "gpt-4o",
    }
    name = by_patterns.get(tuple(patterns))
    if name is None or "ByteLevel" not in kinds:
        raise InvalidRequest(
            "the tokenizer cuts texts in a way that is not known here",
            hint="Convert the model with llama.cpp's convert_hf_to_gguf.py and create from the result.",
        )
    return name


def _merges(model: Mapping[str, Any]) -> list[str]:
    found = []
    for merge in model.get("merges") or ():
        if isinstance(merge, list):
            # A blank within a part would be taken for the one between them.
            merge = " ".join(str(part).replace(" ", chr(ord(" ") + 256)) for part in merge)
        if not isinstance(merge, str):
            raise BadModelFile("tokenizer.json has merges of an unknown form")
        found.append(merge)
    if not found:
        raise BadModelFile("tokenizer.json has no merges")
    return found


def _add_added(vocabulary: Vocabulary, tokenizer: Mapping[str, Any], *, keep: tuple[int, ...] = ()) -> None:
    for entry in tokenizer.get("added_tokens") or ():
        token_id = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(token_id, int) and 0 <= token_id < len(vocabulary.kinds):
            if vocabulary.kinds[token_id] not in keep:
                _add(vocabulary, token_id, entry)


def _add(vocabulary: Vocabulary, token_id: int, entry: Mapping[str, Any]) -> None:
    text = str(entry.get("content", ""))
    if entry.get("special") or _looks_special(text):
        vocabulary.set(token_id, text, CONTROL, _ADDED_SCORE)
    else:
        vocabulary.set(token_id, text.replace(_META_SPACE, " "), USER_DEFINED, _ADDED_SCORE)


def _looks_special(text: str) -> bool:
    """Tokens that mark turns and the like, which some models forget to call special."""
    if text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]"):
        return True
    ends = (("<|", "|>"), ("<\N{FULLWIDTH VERTICAL LINE}", "\N{FULLWIDTH VERTICAL LINE}>"), ("<unused", ">"))
    return any(text.startswith(first) and text.endswith(last) for first, last in ends)


def _special_tokens(files: Files, config: Mapping[str, Any], tokens: list[str]) -> dict[str, Value]:
    """Ids by role: by the text in tokenizer_config.json, else by the id in config.json."""
    ids = {text: token_id for token_id, text in reversed(list(enumerate(tokens)))}
    model = files.json("config.json")
    found = {}
    for role, key in _SPECIAL.items():
        text = config.get(f"{role}_token")
        text = text.get("content") if isinstance(text, dict) else text
        if text is None and role in ("bos", "eos"):
            text = config.get({"bos": "cls_token", "eos": "sep_token"}[role])
            text = text.get("content") if isinstance(text, dict) else text
        token_id = ids.get(text) if isinstance(text, str) else None
        if token_id is None:
            given = model.get(f"{role}_token_id")
            given = given[0] if isinstance(given, list) and given else given
            token_id = given if isinstance(given, int) and not isinstance(given, bool) else None
        if token_id is not None and 0 <= token_id < len(tokens):
            found[f"tokenizer.ggml.{key}"] = Value("u32", token_id)
    return found


def _added_ends(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Value]:
    """Whether a text gets a begin and an end token."""
    ends: dict[str, bool] = {}
    processor = tokenizer.get("post_processor") or {}
    for step in processor.get("processors", [processor]) if isinstance(processor, dict) else ():
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "ByteLevel":
            ends.setdefault("bos", False)
            ends.setdefault("eos", False)
        elif kind in ("RobertaProcessing", "BertProcessing"):
            ends |= {"bos": True, "eos": True}
        elif kind == "TemplateProcessing" and len(step.get("single") or ()) > 1:
            ends |= {"bos": "SpecialToken" in step["single"][0], "eos": "SpecialToken" in step["single"][-1]}
    for role in ("bos", "eos"):
        if isinstance(config.get(f"add_{role}_token"), bool):
            ends[role] = config[f"add_{role}_token"]
    return {f"tokenizer.ggml.add_{role}_token": Value("bool", value) for role, value in ends.items()}


def _chat_template(files: Files, config: Mapping[str, Any]) -> str:
    """Jinja template, "" when there is none: of a file of its own, else tokenizer_config.json's default."""
    own = files.text("chat_template.jinja")
    found = own or config.get("chat_template") or files.json("chat_template.json").get("chat_template")
    if isinstance(found, list):
        by_name = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = by_name.get("default")
    return found if isinstance(found, str) else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
