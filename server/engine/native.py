"""llama.cpp's C functions with types: the only module that touches `llama_cpp`.

`import llama_cpp` runs the package's high-level classes and costs about 80 ms at each start of a worker.
Only the C binding is needed, so a stub with the package's search path stands in for the package, and the
binding alone is imported, in about 8 ms.

The environment of the worker is set by the server before it starts: GOMP_SPINCOUNT=20000, so that OpenMP's
threads stop spinning when another process wants the core, and GGML_NO_BACKTRACE=1, so that an abort does not
start a debugger. Both are read when the libraries load.

Model, vocabulary, context and memory are addresses (`int`); a sampler is a ctypes pointer. NULL is None for
the former and a false pointer, not None, for the latter: always ask `if not pointer`.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable as Fn
from typing import Any, Final, Protocol


def _load_binding() -> Any:
    if "llama_cpp" not in sys.modules:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError("the package llama-cpp-python is not installed")
        stub = types.ModuleType("llama_cpp")
        stub.__path__ = list(spec.submodule_search_locations)
        stub.__spec__ = spec
        sys.modules["llama_cpp"] = stub
    return importlib.import_module("llama_cpp.llama_cpp")


_c: Final = _load_binding()


class SamplerPointer(Protocol):
    """A `llama_sampler *`; false when NULL."""

    def __bool__(self) -> bool: ...


Address = int
"""A model, vocabulary, context or memory."""

# Structures. They are ctypes classes without type information.
TokenDataArray: Any = _c.llama_token_data_array
TokenData: Any = _c.llama_token_data
LogitBias: Any = _c.llama_logit_bias
ProgressCallback: Any = _c.llama_progress_callback
LogCallback: Any = _c.llama_log_callback
AbortCallback: Any = _c.ggml_abort_callback
AdapterPointer: Any = _c.llama_adapter_lora_p_ctypes

# Process.
version: Fn[[], bytes] = _c.llama_version
backend_init: Fn[[], None] = _c.llama_backend_init
log_set: Fn[[Any, Any], None] = _c.llama_log_set
system_info: Fn[[], bytes] = _c.llama_print_system_info

# Model and vocabulary.
model_default_params: Fn[[], Any] = _c.llama_model_default_params
model_load_from_file: Fn[[bytes, Any], Address | None] = _c.llama_model_load_from_file
model_free: Fn[[Address], None] = _c.llama_model_free
model_get_vocab: Fn[[Address], Address] = _c.llama_model_get_vocab
model_n_ctx_train: Fn[[Address], int] = _c.llama_model_n_ctx_train
model_n_embd_out: Fn[[Address], int] = _c.llama_model_n_embd_out
model_n_embd_inp: Fn[[Address], int] = _c.llama_model_n_embd_inp
model_n_cls_out: Fn[[Address], int] = _c.llama_model_n_cls_out
model_meta_val_str: Fn[[Address, bytes, Any, int], int] = _c.llama_model_meta_val_str
model_chat_template: Fn[[Address, bytes], bytes | None] = _c.llama_model_chat_template
model_n_params: Fn[[Address], int] = _c.llama_model_n_params
model_size: Fn[[Address], int] = _c.llama_model_size
model_n_swa: Fn[[Address], int] = _c.llama_model_n_swa
model_has_encoder: Fn[[Address], bool] = _c.llama_model_has_encoder
model_has_decoder: Fn[[Address], bool] = _c.llama_model_has_decoder
model_is_recurrent: Fn[[Address], bool] = _c.llama_model_is_recurrent
model_is_hybrid: Fn[[Address], bool] = _c.llama_model_is_hybrid
model_rope_type: Fn[[Address], int] = _c.llama_model_rope_type
model_n_layer: Fn[[Address], int] = _c.llama_model_n_layer
model_n_layer_nextn: Fn[[Address], int] = _c.llama_model_n_layer_nextn
vocab_n_tokens: Fn[[Address], int] = _c.llama_vocab_n_tokens
vocab_type: Fn[[Address], int] = _c.llama_vocab_type
vocab_bos: Fn[[Address], int] = _c.llama_vocab_bos
vocab_eos: Fn[[Address], int] = _c.llama_vocab_eos
vocab_sep: Fn[[Address], int] = _c.llama_vocab_sep
vocab_get_add_bos: Fn[[Address], bool] = _c.llama_vocab_get_add_bos
vocab_get_add_eos: Fn[[Address], bool] = _c.llama_vocab_get_add_eos
vocab_is_eog: Fn[[Address, int], bool] = _c.llama_vocab_is_eog
vocab_is_control: Fn[[Address, int], bool] = _c.llama_vocab_is_control
vocab_get_text: Fn[[Address, int], bytes] = _c.llama_vocab_get_text
vocab_suppress_tokens: Fn[[Address, Any], Any] = _c.llama_vocab_get_suppress_tokens
tokenize: Fn[[Address, bytes, int, Any, int, bool, bool], int] = _c.llama_tokenize
token_to_piece: Fn[[Address, int, Any, int, int, bool], int] = _c.llama_token_to_piece
adapter_lora_init: Fn[[Address, bytes], Any] = _c.llama_adapter_lora_init
set_adapters_lora: Fn[[Address, Any, int, Any], int] = _c.llama_set_adapters_lora

# Context and memory.
context_default_params: Fn[[], Any] = _c.llama_context_default_params
init_from_model: Fn[[Address, Any], Address | None] = _c.llama_init_from_model
free: Fn[[Address], None] = _c.llama_free
n_ctx: Fn[[Address], int] = _c.llama_n_ctx
n_ctx_seq: Fn[[Address], int] = _c.llama_n_ctx_seq
n_batch: Fn[[Address], int] = _c.llama_n_batch
n_ubatch: Fn[[Address], int] = _c.llama_n_ubatch
n_seq_max: Fn[[Address], int] = _c.llama_n_seq_max
pooling_type: Fn[[Address], int] = _c.llama_pooling_type
get_memory: Fn[[Address], Address | None] = _c.llama_get_memory
memory_clear: Fn[[Address, bool], None] = _c.llama_memory_clear
memory_seq_rm: Fn[[Address, int, int, int], bool] = _c.llama_memory_seq_rm
memory_seq_cp: Fn[[Address, int, int, int, int], None] = _c.llama_memory_seq_cp
memory_seq_add: Fn[[Address, int, int, int, int], None] = _c.llama_memory_seq_add
memory_seq_pos_min: Fn[[Address, int], int] = _c.llama_memory_seq_pos_min
memory_seq_pos_max: Fn[[Address, int], int] = _c.llama_memory_seq_pos_max
memory_can_shift: Fn[[Address], bool] = _c.llama_memory_can_shift
state_seq_get_size: Fn[[Address, int], int] = _c.llama_state_seq_get_size
state_seq_get_data: Fn[[Address, Any, int, int], int] = _c.llama_state_seq_get_data
state_seq_set_data: Fn[[Address, Any, int, int], int] = _c.llama_state_seq_set_data
Batch: Any = _c.llama_batch
batch_init: Fn[[int, int, int], Any] = _c.llama_batch_init
batch_free: Fn[[Any], None] = _c.llama_batch_free
decode: Fn[[Address, Any], int] = _c.llama_decode
set_n_threads: Fn[[Address, int, int], None] = _c.llama_set_n_threads
set_abort_callback: Fn[[Address, Any, Any], None] = _c.llama_set_abort_callback
get_causal_attn: Fn[[Address], bool] = _c.llama_get_causal_attn
set_causal_attn: Fn[[Address, bool], None] = _c.llama_set_causal_attn

# Samplers.
sampler_chain_default_params: Fn[[], Any] = _c.llama_sampler_chain_default_params
sampler_chain_init: Fn[[Any], SamplerPointer] = _c.llama_sampler_chain_init
sampler_chain_add: Fn[[SamplerPointer, SamplerPointer], None] = _c.llama_sampler_chain_add
sampler_free: Fn[[SamplerPointer], None] = _c.llama_sampler_free
sampler_accept: Fn[[SamplerPointer, int], None] = _c.llama_sampler_accept
sampler_apply: Fn[[SamplerPointer, Any], None] = _c.llama_sampler_apply
sampler_clone: Fn[[SamplerPointer], SamplerPointer] = _c.llama_sampler_clone
sampler_init_greedy: Fn[[], SamplerPointer] = _c.llama_sampler_init_greedy
sampler_init_dist: Fn[[int], SamplerPointer] = _c.llama_sampler_init_dist
sampler_init_top_k: Fn[[int], SamplerPointer] = _c.llama_sampler_init_top_k
sampler_init_top_p: Fn[[float, int], SamplerPointer] = _c.llama_sampler_init_top_p
sampler_init_min_p: Fn[[float, int], SamplerPointer] = _c.llama_sampler_init_min_p
sampler_init_typical: Fn[[float, int], SamplerPointer] = _c.llama_sampler_init_typical
sampler_init_temp: Fn[[float], SamplerPointer] = _c.llama_sampler_init_temp
sampler_init_temp_ext: Fn[[float, float, float], SamplerPointer] = _c.llama_sampler_init_temp_ext
sampler_init_mirostat: Fn[[int, int, float, float, int], SamplerPointer] = _c.llama_sampler_init_mirostat
sampler_init_mirostat_v2: Fn[[int, float, float], SamplerPointer] = _c.llama_sampler_init_mirostat_v2
sampler_init_penalties: Fn[[int, int, float, float, float], SamplerPointer] = _c.llama_sampler_init_penalties
sampler_init_logit_bias: Fn[[int, int, Any], SamplerPointer] = _c.llama_sampler_init_logit_bias
sampler_init_grammar: Fn[[Address, bytes, bytes], SamplerPointer] = _c.llama_sampler_init_grammar


def _logits_function() -> Fn[[Address], int | None]:
    """llama_get_logits with an address as its result: a ctypes pointer object costs a microsecond more."""
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("llama_get_logits", _c._lib))
    return function


get_logits: Fn[[Address], int | None] = _logits_function()


def _pooled_function() -> Fn[[Address, int], int | None]:
    """llama_get_embeddings_seq with an address as its result."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
    function = prototype(("llama_get_embeddings_seq", _c._lib))
    return function


get_embeddings_seq: Fn[[Address, int], int | None] = _pooled_function()


def _add_sep_function() -> Fn[[Address], bool]:
    """llama_vocab_get_add_sep, which the binding does not declare."""
    function = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(("llama_vocab_get_add_sep", _c._lib))
    return function


vocab_get_add_sep: Fn[[Address], bool] = _add_sep_function()


def library_function(name: str, result: Any, arguments: list[Any]) -> Fn[..., Any]:
    """A function of ggml that the binding does not declare.

    It is looked up through the loaded library, because opening libggml by its path would load a second copy.
    """
    function = getattr(_c._lib, name)
    function.restype = result
    function.argtypes = arguments
    bound: Fn[..., Any] = function
    return bound
