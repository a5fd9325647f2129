"""Stand-ins for pictures and sounds, where a memory can be cut, and what is kept of files."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.engine.batch import TokenArray
from server.engine.kv_cache import SlotCache, common_prefix
from server.engine.media import (
    Media,
    MediaCache,
    Span,
    before_media,
    has_media,
    joined,
    n_bytes,
    stand_ins,
    text_only,
    whole_spans,
    without_last_span,
)


def _digest(name: int) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def _span(name: int, n: int, *, n_pos: int | None = None) -> Span:
    row = np.arange(n, dtype=np.int32).reshape(1, n)
    return Span(
        tokens=stand_ins(_digest(name), 0, n),
        embeddings=np.zeros((n, 2), np.float32),
        n_pos=n if n_pos is None else n_pos,
        is_causal=True,
        base=row if n_pos is None else np.zeros_like(row),
        slope=np.ones_like(row),
    )


texts = st.lists(st.integers(0, 9), max_size=6).map(lambda ids: np.array(ids, np.int32))
files = st.tuples(st.integers(0, 3), st.integers(1, 9)).map(lambda pair: _span(*pair))
prompts = st.lists(st.one_of(texts, files.map(lambda span: (span,))), max_size=6)


@given(st.integers(0, 1000), st.integers(0, 5), st.integers(1, 300))
def test_stand_ins_are_negative_and_tell_where_they_begin(name: int, index: int, n: int) -> None:
    tokens = stand_ins(_digest(name), index, n)
    assert tokens.dtype == np.int32 and len(tokens) == n and (tokens < 0).all()
    assert tokens[0] % 2 == 0 and (tokens[1:] % 2 == 1).all()
    assert np.array_equal(tokens, stand_ins(_digest(name), index, n))
    assert common_prefix(tokens, stand_ins(_digest(name + 1), index, n)) == 0


@given(prompts)
def test_spans_stand_where_their_tokens_are(parts: list[TokenArray | Media]) -> None:
    prompt = joined(parts)
    assert len(prompt.tokens) == sum(
        part[0].n_tokens if isinstance(part, tuple) and isinstance(part[0], Span) else len(part)
        for part in parts
    )
    for placed in prompt.spans:
        assert np.array_equal(prompt.tokens[placed.start : placed.end], placed.span.tokens)
    assert has_media(prompt.tokens) == bool(prompt.spans)
    assert (text_only(prompt.tokens) >= 0).all()
    first = prompt.spans[0].start if prompt.spans else len(prompt.tokens)
    assert len(before_media(prompt.tokens)) == first


@given(prompts, st.data())
def test_no_cut_goes_through_a_picture(parts: list[TokenArray | Media], data: st.DataObject) -> None:
    prompt = joined(parts)
    n = data.draw(st.integers(0, len(prompt.tokens)))
    cut = whole_spans(prompt.tokens, n)
    assert 0 <= cut <= n
    assert not any(placed.start < cut < placed.end for placed in prompt.spans)
    inside = next((placed for placed in prompt.spans if placed.start < n < placed.end), None)
    assert cut == (n if inside is None else inside.start)


@given(prompts, st.data())
def test_the_last_picture_or_its_part_is_left_out(
    parts: list[TokenArray | Media], data: st.DataObject
) -> None:
    prompt = joined(parts)
    n = data.draw(st.integers(0, len(prompt.tokens)))
    last = next((placed for placed in prompt.spans if placed.start < n <= placed.end), None)
    assert without_last_span(prompt.tokens[:n]) == (n if last is None else last.start)


@given(prompts, prompts)
def test_slots_share_whole_pictures_only(
    first: list[TokenArray | Media], second: list[TokenArray | Media]
) -> None:
    one, two = joined(first), joined(second)
    if not len(one.tokens) or not len(two.tokens):
        return
    cache = SlotCache(1, 128)
    cache.append(0, one.tokens)
    placement = cache.place(two.tokens, [0])
    assert not any(placed.start < placement.n_keep < placed.end for placed in two.spans)
    assert placement.n_keep <= common_prefix(one.tokens, two.tokens)


def test_positions_behind_a_picture_in_a_plane() -> None:
    cache = SlotCache(2, 32, on_plane=True)
    span = _span(1, 6, n_pos=2)
    cache.append(0, np.array([1, 2, 3], np.int32))
    cache.append(0, span.tokens[:4], positions=np.append(span.positions(3)[0, :4], np.int32(3)))
    assert [cache.position(0, n) for n in (3, 5, 7)] == [3, 3, 3]
    cache.append(0, span.tokens[4:], positions=np.append(span.positions(3)[0, 4:], np.int32(5)))
    cache.append(0, 7)
    assert [cache.position(0, n) for n in (9, 10)] == [5, 6]
    prompt = np.concatenate([cache.tokens(0)[:9], np.array([8, 8], np.int32)])
    placement = cache.place(prompt, [0, 1])
    assert placement.n_keep == 9 and cache.position_after(placement) == 5
    cache.take(placement)
    cache.append(placement.slot, np.array([8, 8], np.int32))
    assert cache.position(placement.slot, 11) == 7
    cache.truncate(placement.slot, 3)
    assert cache.position(placement.slot, 3) == 3


def test_the_cache_keeps_what_was_used_last() -> None:
    one, two, three = ((_span(name, 10),) for name in range(3))
    size = n_bytes(one)
    cache = MediaCache(2 * size)
    cache.put(b"1", one)
    cache.put(b"2", two)
    assert cache.get(b"1") is one
    cache.put(b"3", three)
    assert cache.get(b"2") is None and cache.get(b"1") is one and cache.get(b"3") is three
    assert cache.n_bytes == 2 * size
    cache.put(b"4", (_span(4, 100),))
    assert cache.get(b"4") is None and cache.n_bytes == 2 * size
