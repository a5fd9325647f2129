"""A loaded model: its weights, its vocabulary, its adapters. Knows no context and no request."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from server.engine import huge_pages, native
from server.engine.batch import TokenArray
from server.engine.devices import gpu_names
from server.engine.failures import BadModel, BadRequest, EngineFailure, LoadRefused, NoMemory
from server.engine.host_cache import machine_room_bytes
from server.engine.logs import LogSink
from server.engine.text_parts import text_parts
from server.types.generation import LoadParams, ModelPaths

_SPLIT_NONE: Final = 0
_LOAD_MODE_READ: Final = 0
_LOAD_MODE_MMAP: Final = 1

_REPACKED_FILE_TYPES: Final = {2: "Q4_0", 10: "Q2_K", 14: "Q4_K_S", 15: "Q4_K_M", 25: "IQ4_NL"}
"""general.file_type of weights that llama.cpp repacks for a CPU."""

_READ_SHARE: Final = 0.5
"""Of the memory that may still be taken; mapped weights can be given back when it becomes short."""

_HEAD_BYTES: Final = 1 << 16
"""The keys named general.* stand at the start of a GGUF file."""

_NO_MEMORY_SIGNS: Final = ("failed to allocate", "unable to allocate", "out of memory", "bad_alloc")

_UINT32: Final = 4
"""gguf_type of an unsigned 32-bit value."""

_ROPES_WITH_AXES: Final = (8, 40)
"""LLAMA_ROPE_TYPE_MROPE and LLAMA_ROPE_TYPE_IMROPE."""

_VOCAB_BPE: Final = 2
"""llama_vocab_type of byte-pair encoding."""

_MAX_TEXT_BYTES: Final = 1 << 30  # llama_tokenize takes the length as an int32


class Model:
    """A model that llama.cpp has loaded.

    Attributes:
        address, vocab: for `server.engine.native`.
        suppressed: ids that the model's maker wants never to be generated.
        n_swa: tokens in the sliding window of its attention; 0: all layers see everything.
        n_embd_inp: numbers that it reads for a token.
        on_plane: its positions have several axes, so that pictures can lie in a plane (M-RoPE).
        layer_devices: the device of each layer, the output layer last.
    """

    def __init__(self, address: native.Address, layer_devices: Sequence[str] = ()) -> None:
        self.address = address
        self.layer_devices = tuple(layer_devices)
        self.vocab = native.model_get_vocab(address)
        self.n_vocab = native.vocab_n_tokens(self.vocab)
        self.n_ctx_train = native.model_n_ctx_train(address)
        self.n_embd = native.model_n_embd_out(address)
        self.n_params = native.model_n_params(address)
        self.weights_bytes = native.model_size(address)
        self.has_encoder = native.model_has_encoder(address)
        self.has_decoder = native.model_has_decoder(address)
        self.is_recurrent = native.model_is_recurrent(address) or native.model_is_hybrid(address)
        self.n_swa = native.model_n_swa(address)
        self.n_embd_inp = native.model_n_embd_inp(address)
        self.on_plane = native.model_rope_type(address) in _ROPES_WITH_AXES
        self._is_bpe = native.vocab_type(self.vocab) == _VOCAB_BPE
        self.adds_bos = native.vocab_get_add_bos(self.vocab)
        self.bos = native.vocab_bos(self.vocab)
        self.eos = native.vocab_eos(self.vocab)
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self._is_eog: dict[int, bool] = {}
        self._plain_texts: dict[int, str | None] = {}
        self._ends: TokenArray | None = None
        self._buffer = ctypes.create_string_buffer(256)
        self.bos_text = self._text(self.bos)
        self.eos_text = self._text(self.eos)
        self.suppressed = self._suppressed_tokens()
        self.adapters: list[Any] = []

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = True) -> TokenArray:
        """Token ids of a text. `add_special`: with BOS and EOS where the model wants them.

        A text that begins with the text of BOS gets no second one.
        Raises: BadRequest for a text that is too long.
        """
        if add_special and self.bos_text and text.startswith(self.bos_text):
            add_special = False
        parts = text_parts(text) if self._is_bpe else [text]
        if len(parts) == 1:
            return self._tokens(text, add_special=add_special, parse_special=parse_special)
        special = self._tokens("", add_special=add_special, parse_special=False)
        n_prefix = int(len(special) > 0 and special[0] == self.bos)
        bodies = [self._tokens(part, add_special=False, parse_special=parse_special) for part in parts]
        return np.concatenate([special[:n_prefix], *bodies, special[n_prefix:]])

    def _tokens(self, text: str, *, add_special: bool, parse_special: bool) -> TokenArray:
        """What llama.cpp makes of a text. Raises: BadRequest."""
        data = text.encode("utf-8", "replace")
        if len(data) > _MAX_TEXT_BYTES:
            raise BadRequest("the prompt is longer than a gigabyte")
        n_max = len(data) // 2 + 16
        while True:
            tokens = np.empty(n_max, np.int32)
            pointer = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            n = native.tokenize(self.vocab, data, len(data), pointer, n_max, add_special, parse_special)
            if n >= 0:
                return tokens[:n]
            if -n <= n_max:
                raise BadRequest("the prompt has more tokens than can be counted")
            n_max = -n

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token. Without `special`, control tokens have none. [not always whole UTF-8]"""
        key = (token, special)
        piece = self._pieces.get(key)
        if piece is None:
            self.check_token(token)
            n = native.token_to_piece(self.vocab, token, self._buffer, len(self._buffer), 0, special)
            if n < 0:
                self._buffer = ctypes.create_string_buffer(-n)
                n = native.token_to_piece(self.vocab, token, self._buffer, -n, 0, special)
            piece = self._pieces[key] = self._buffer.raw[: max(n, 0)]
        return piece

    def plain_text(self, token: int) -> str | None:
        """The text of a token of ASCII characters alone; None for others, and for control tokens."""
        if token in self._plain_texts:
            return self._plain_texts[token]
        piece = self.piece(token)
        is_plain = piece.isascii() and not (self.is_eog(token) or self.is_control(token))
        text = self._plain_texts[token] = piece.decode("ascii") if is_plain else None
        return text

    def detokenize(self, tokens: TokenArray) -> str:
        """The text of tokens, special tokens rendered.

        It is their pieces in a row: llama_detokenize would also remove spaces before punctuation for some
        vocabularies, and the text would no longer be that of the tokens. Raises: BadRequest for unknown ids.
        """
        return b"".join(self.piece(int(token), special=True) for token in tokens).decode("utf-8", "replace")

    def is_eog(self, token: int) -> bool:
        """Whether the token ends a generation."""
        known = self._is_eog.get(token)
        if known is None:
            known = self._is_eog[token] = native.vocab_is_eog(self.vocab, token)
        return known

    def ends(self) -> TokenArray:
        """Ids of all tokens that end a generation, ascending."""
        if self._ends is None:
            ends = [token for token in range(self.n_vocab) if native.vocab_is_eog(self.vocab, token)]
            self._ends = np.array(ends, np.int32)
        return self._ends

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token, which has no text of its own."""
        self.check_token(token)
        return native.vocab_is_control(self.vocab, token)

    def check_token(self, token: int) -> None:
        """Raises `BadRequest` for an id that the vocabulary does not have; llama.cpp would throw out of C."""
        if not 0 <= token < self.n_vocab:
            raise BadRequest(f"token id {token} is not in the model's vocabulary of {self.n_vocab} tokens")

    def close(self) -> None:
        """Free the weights. No context of the model may be in use."""
        if self.address:
            native.model_free(self.address)
            self.address = 0

    def _text(self, token: int) -> str:
        if not 0 <= token < self.n_vocab:
            return ""
        return self.piece(token, special=True).decode("utf-8", "replace")

    def _suppressed_tokens(self) -> TokenArray:
        n = ctypes.c_int32(0)
        pointer = native.vocab_suppress_tokens(self.vocab, ctypes.byref(n))
        if not pointer or n.value <= 0:
            return np.empty(0, np.int32)
        return np.ctypeslib.as_array(pointer, (n.value,)).copy()


def load_model(
    paths: ModelPaths, params: LoadParams, log: LogSink, on_progress: Callable[[float], bool]
) -> Model:
    """Read the weights and the adapters. `on_progress` gets the share that is read; False stops.

    Raises: BadModel, NoMemory, LoadRefused.
    """
    for path in (paths.model, *paths.adapters):
        _check_file(Path(path), b"GGUF")

    @native.ProgressCallback  # type: ignore[untyped-decorator]
    def progress(fraction: float, _user_data: object) -> bool:
        return on_progress(fraction)

    native_params = _native_params(Path(paths.model), params)
    native_params.progress_callback = progress
    log.errors.clear()
    log.layer_devices.clear()
    address = native.model_load_from_file(os.fsencode(paths.model), native_params)
    if not address:
        raise load_failure(paths.model, log, BadModel)
    model = Model(address, [device for _, device in sorted(log.layer_devices.items())])
    for adapter in paths.adapters:
        pointer = native.adapter_lora_init(address, os.fsencode(adapter))
        if not pointer:
            raise load_failure(adapter, log, BadModel)
        model.adapters.append(pointer)
    return model


def _native_params(path: Path, params: LoadParams) -> Any:
    native_params = native.model_default_params()
    native_params.n_gpu_layers = params.n_gpu_layers
    native_params.main_gpu = params.main_gpu
    if params.main_gpu > 0:
        native_params.split_mode = _SPLIT_NONE
    # llama.cpp's multiplication of weights in AMX buffers crashes. These buffers are one of the extra types
    # and come before repacking, so on a build with AMX all extra types are left out.
    repacks = b"AMX_INT8 = 1" not in native.system_info()
    native_params.use_extra_bufts = repacks
    use_mmap = params.use_mmap
    if use_mmap is None:
        on_gpu = params.n_gpu_layers != 0 and bool(gpu_names())
        use_mmap = on_gpu or not ((repacks and _is_repacked(path)) or _is_faster_read(path))
    native_params.load_mode = _LOAD_MODE_MMAP if use_mmap else _LOAD_MODE_READ
    return native_params


def load_failure(what: str, log: LogSink, otherwise: type[EngineFailure] = LoadRefused) -> EngineFailure:
    """The failure that llama.cpp's last error lines describe."""
    detail = log.errors[0] if log.errors else "llama.cpp gave no reason"
    text = " ".join(log.errors).lower()
    if any(sign in text for sign in _NO_MEMORY_SIGNS):
        return NoMemory(f"there is not enough memory for {Path(what).name}: {detail}")
    return otherwise(f"{Path(what).name} cannot be loaded: {detail}")


def _is_repacked(path: Path) -> bool:
    """Whether llama.cpp copies the weights into another layout; mapped, they would be in memory twice."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    _, found, value = head.partition(b"general.file_type" + _UINT32.to_bytes(4, "little"))
    return bool(found) and int.from_bytes(value[:4], "little") in _REPACKED_FILE_TYPES


def _is_faster_read(path: Path) -> bool:
    """Whether weights are better copied into huge pages than mapped, and there is room to spare."""
    return huge_pages.are_used() and path.stat().st_size <= _READ_SHARE * machine_room_bytes()


def _check_file(path: Path, magic: bytes) -> None:
    """Raises `BadModel` for a file whose fault has a plainer name than llama.cpp's."""
    try:
        with path.open("rb") as file:
            head = file.read(len(magic))
    except FileNotFoundError as error:
        raise BadModel(f"the model file {path} does not exist") from error
    except OSError as error:
        raise BadModel(f"the model file {path} cannot be read: {error.strerror}") from error
    if not head:
        raise BadModel(f"the model file {path.name} is empty")
    if head != magic:
        raise BadModel(f"{path.name} is not a GGUF model file")
