"""libmtmd's C functions with types: pictures and sounds for models with a projector.

Importing this loads libmtmd, so only what has a projector to open does. Contexts, bitmaps, lists and chunks
are addresses (`int`), NULL is None.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable as Fn
from typing import Any, Final

from server.engine import native

# `native` has put a stub in place of the package, so that only the binding is imported.
_BINDING: Final = "llama_cpp.mtmd_cpp"
_c: Final = importlib.import_module(_BINDING)

Address = native.Address

CHUNK_TEXT: Final = 0
"""The first mtmd_input_chunk_type."""

InputPart: Any = _c.mtmd_input_part
DecoderPos: Any = _c.mtmd_decoder_pos

context_default_params: Fn[[], Any] = _c.mtmd_context_params_default
init_from_file: Fn[[bytes, Address, Any], Address | None] = _c.mtmd_init_from_file
free: Fn[[Address], None] = _c.mtmd_free
log_set: Fn[[Any, Any], None] = _c.mtmd_helper_log_set
decode_use_non_causal: Fn[[Address, Address | None], bool] = _c.mtmd_decode_use_non_causal
decode_use_mrope: Fn[[Address], bool] = _c.mtmd_decode_use_mrope
support_vision: Fn[[Address], bool] = _c.mtmd_support_vision
support_audio: Fn[[Address], bool] = _c.mtmd_support_audio

bitmap_init: Fn[[int, int, Any], Address | None] = _c.mtmd_bitmap_init
bitmap_free: Fn[[Address], None] = _c.mtmd_bitmap_free
helper_init_opt_default: Fn[[], Any] = _c.mtmd_helper_init_opt_default
helper_bitmap_init_from_buf: Fn[[Address, Any, int, bool, Any], Address | None] = (
    _c.mtmd_helper_bitmap_init_from_buf
)

chunks_init: Fn[[], Address | None] = _c.mtmd_input_chunks_init
chunks_size: Fn[[Address], int] = _c.mtmd_input_chunks_size
chunks_get: Fn[[Address, int], Address] = _c.mtmd_input_chunks_get
chunks_free: Fn[[Address], None] = _c.mtmd_input_chunks_free
tokenize_from_parts: Fn[[Address, Address, Any, int, bool], int] = _c.mtmd_tokenize_from_parts
chunk_type: Fn[[Address], int] = _c.mtmd_input_chunk_get_type
chunk_n_tokens: Fn[[Address], int] = _c.mtmd_input_chunk_get_n_tokens
chunk_n_pos: Fn[[Address], int] = _c.mtmd_input_chunk_get_n_pos
chunk_tokens_text: Fn[[Address, Any], Any] = _c.mtmd_input_chunk_get_tokens_text
chunk_tokens_image: Fn[[Address], Address | None] = _c.mtmd_input_chunk_get_tokens_image
image_decoder_pos: Fn[[Address, int, Any], None] = _c.mtmd_helper_image_get_decoder_pos
encode_chunk: Fn[[Address, Address], int] = _c.mtmd_encode_chunk


def _output_function() -> Fn[[Address], int | None]:
    """mtmd_get_output_embd with an address as its result."""
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("mtmd_get_output_embd", _c._libmtmd))
    return function


output_embd: Fn[[Address], int | None] = _output_function()
