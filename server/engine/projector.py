"""A projector: it turns picture and sound files into embeddings that the model reads."""

from __future__ import annotations

import ctypes
import hashlib
import os
from typing import Any, Final

import numpy as np

from server.engine import native, native_media
from server.engine.batch import TokenArray
from server.engine.failures import BadModel, BadRequest, DecodeFailed
from server.engine.logs import LogSink
from server.engine.media import Media, Span, stand_ins
from server.engine.model import Model
from server.engine.pictures import decode_picture

MAX_SOUND_BYTES: Final = 25 * 1024 * 1024
"""Bytes of a sound file, OpenAI's bound; llama.cpp decodes it whole, at 64 kB for a second."""

_MIN_SOUND_BYTES: Final = 12
"""libmtmd looks at no shorter file."""

_MAX_SPANS: Final = 4096
_SOUNDS: Final = (b"ID3", b"fLaC")


class Projector:
    """Encodes files. None of its methods may run beside another one.

    Attributes:
        sees, hears: what it takes.
        needs_whole: what it makes of a picture has to be decoded in one batch.
        on_plane: tokens of a picture have positions in a plane, so each has four (M-RoPE).
    """

    def __init__(self, path: str, model: Model, *, n_threads: int, on_gpu: bool, log: LogSink) -> None:
        """Raises: BadModel for a file that is no projector or none for this model."""
        native_media.log_set(log.callback, ctypes.c_void_p(0))
        params = native_media.context_default_params()
        params.use_gpu = on_gpu
        params.n_threads = n_threads
        params.print_timings = False
        params.warmup = False
        log.errors.clear()
        address = native_media.init_from_file(os.fsencode(path), model.address, params)
        if not address:
            reason = log.errors[-1] if log.errors else "it is no projector for this model"
            raise BadModel(f"the model's projector cannot be loaded: {reason}")
        self._address: native.Address = address
        self._n_embd = model.n_embd_inp
        self.sees = native_media.support_vision(address)
        self.hears = native_media.support_audio(address)
        self.needs_whole = native_media.decode_use_non_causal(address, None)
        self.on_plane = native_media.decode_use_mrope(address)

    def encode(self, data: bytes) -> Media:
        """What stands for a file in a prompt. Raises: BadRequest, DecodeFailed."""
        bitmap = self._sound(data) if is_sound(data) else self._picture(data)
        chunks = native_media.chunks_init()
        if not chunks:
            native_media.bitmap_free(bitmap)
            raise DecodeFailed("there is no memory for a picture")
        try:
            self._tokenize(bitmap, chunks)
            return self._media(hashlib.sha256(data).digest(), chunks)
        finally:
            native_media.chunks_free(chunks)
            native_media.bitmap_free(bitmap)

    def close(self) -> None:
        """Free the weights."""
        if self._address:
            native_media.free(self._address)
            self._address = 0

    def _picture(self, data: bytes) -> native.Address:
        if not self.sees:
            raise BadRequest("the model hears but does not see; send a sound file")
        pixels = np.ascontiguousarray(decode_picture(data))
        height, width, _ = pixels.shape
        pointer = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = native_media.bitmap_init(width, height, pointer)
        if not bitmap:
            raise DecodeFailed("there is no memory for a picture")
        return bitmap

    def _sound(self, data: bytes) -> native.Address:
        if not self.hears:
            raise BadRequest("the model sees but does not hear; send a picture")
        if len(data) > MAX_SOUND_BYTES:
            raise BadRequest(f"a sound file has {len(data)} bytes and at most {MAX_SOUND_BYTES} are taken")
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        options = native_media.helper_init_opt_default()
        bitmap = native_media.helper_bitmap_init_from_buf(self._address, buffer, len(data), False, options)
        if not bitmap:
            raise BadRequest("a sound file cannot be decoded; the formats are WAV, MP3 and FLAC")
        return bitmap

    def _tokenize(self, bitmap: native.Address, chunks: native.Address) -> None:
        part = native_media.InputPart(None, bitmap)
        parts = (ctypes.POINTER(native_media.InputPart) * 1)(ctypes.pointer(part))
        if native_media.tokenize_from_parts(self._address, chunks, parts, 1, False) != 0:
            raise BadRequest("the model's projector does not take this picture or sound")

    def _media(self, digest: bytes, chunks: native.Address) -> Media:
        n_chunks = native_media.chunks_size(chunks)
        if n_chunks > _MAX_SPANS:
            raise BadRequest("a picture or sound has too many parts")
        runs: list[TokenArray | Span] = []
        for index in range(n_chunks):
            chunk = native_media.chunks_get(chunks, index)
            if native_media.chunk_type(chunk) == native_media.CHUNK_TEXT:
                runs.append(_text_tokens(chunk))
            else:
                runs.append(self._span(chunk, digest, index))
        return tuple(runs)

    def _span(self, chunk: native.Address, digest: bytes, index: int) -> Span:
        n = native_media.chunk_n_tokens(chunk)
        if native_media.encode_chunk(self._address, chunk) != 0:
            raise DecodeFailed("the model's projector failed on a picture or sound")
        address = native_media.output_embd(self._address)
        if not address:
            raise DecodeFailed("the model's projector gave nothing for a picture or sound")
        floats: Any = (ctypes.c_float * (n * self._n_embd)).from_address(address)
        base = self._positions(chunk, n, 0)
        return Span(
            tokens=stand_ins(digest, index, n),
            embeddings=np.frombuffer(floats, np.float32).reshape(n, self._n_embd).copy(),
            n_pos=native_media.chunk_n_pos(chunk),
            is_causal=not native_media.decode_use_non_causal(self._address, chunk),
            base=base,
            slope=self._positions(chunk, n, 1) - base,
        )

    def _positions(self, chunk: native.Address, n: int, first_pos: int) -> TokenArray:
        """Positions of a chunk that begins at `first_pos`, one row for each axis. [n_axes, n]"""
        row = np.arange(first_pos, first_pos + n, dtype=np.int32)
        if not self.on_plane:
            return row.reshape(1, n)
        image = native_media.chunk_tokens_image(chunk)
        if not image:
            return np.tile(row, (4, 1))
        found = (native_media.DecoderPos * n)()
        native_media.image_decoder_pos(image, first_pos, found)
        txyz = np.frombuffer(found, np.uint32).reshape(n, 4).astype(np.int32)
        positions: TokenArray = np.ascontiguousarray(txyz[:, (0, 2, 1, 3)].T)  # llama.cpp wants y before x
        return positions


def is_sound(data: bytes) -> bool:
    """Whether a file is a sound, by its first bytes: WAV, MP3 or FLAC.

    What this says is a sound must be one to libmtmd too, which would give anything else to ffprobe.
    """
    if len(data) < _MIN_SOUND_BYTES:
        return False
    is_wav = data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    is_mpeg = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    return is_wav or is_mpeg or data.startswith(_SOUNDS)


def _text_tokens(chunk: native.Address) -> TokenArray:
    n = ctypes.c_size_t(0)
    pointer = native_media.chunk_tokens_text(chunk, ctypes.byref(n))
    return np.array(pointer[: n.value], np.int32) if n.value else np.empty(0, np.int32)
