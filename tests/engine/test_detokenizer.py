"""Text leaves whole: no half characters, no part of a stop text, the same for any cutting into tokens."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from server.engine.detokenizer import Detokenizer
from server.engine.stop_strings import find_stop, n_open


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    pieces: list[bytes] = []
    position = turn = 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        pieces.append(data[position : position + size])
        position += size
        turn += 1
    return pieces


def run(pieces: list[bytes], stops: list[str]) -> tuple[list[str], list[int], str]:
    """Texts as they came out, all released tokens, and the stop text."""
    detokenizer = Detokenizer(stops)
    texts: list[str] = []
    tokens: list[int] = []
    for token, piece in enumerate(pieces):
        released = detokenizer.feed(token, piece)
        texts.append(released.text)
        tokens += released.tokens
        if detokenizer.stop_text:
            return texts, tokens, detokenizer.stop_text
    released = detokenizer.finish()
    texts.append(released.text)
    return texts, tokens + list(released.tokens), ""


def one_shot(text: str, stops: list[str]) -> tuple[str, str]:
    """The text before the stop text that is complete first, found character by character."""
    for end in range(len(text) + 1):
        matches = sorted((stop for stop in stops if stop and text[:end].endswith(stop)), key=len)
        if matches:
            return text[: end - len(matches[-1])], matches[-1]
    return text, ""


ALPHABET = st.text(alphabet="ab<>é漢😀", max_size=30)
STOPS = st.lists(st.text(alphabet="ab<>é漢😀", min_size=0, max_size=4), max_size=3)
CUTS = st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=6)


@given(text=ALPHABET, stops=STOPS, cuts=CUTS)
@example(text="abcd", stops=["abcd", "bc"], cuts=[4])
@example(text="x<en", stops=["<end>"], cuts=[1])
def test_any_cutting_gives_the_text_of_one_shot(text: str, stops: list[str], cuts: list[int]) -> None:
    texts, _, stop_text = run(pieces_of(text.encode(), cuts), stops)
    assert ("".join(texts), stop_text) == one_shot(text, stops)


@given(text=ALPHABET, stops=STOPS, cuts=CUTS)
def test_no_replacement_character_appears_in_whole_text(text: str, stops: list[str], cuts: list[int]) -> None:
    texts, _, _ = run(pieces_of(text.encode(), cuts), stops)
    assert all("\ufffd" not in text for text in texts)


@given(data=st.binary(max_size=30), cuts=CUTS)
def test_bytes_that_are_no_text_become_replacement_characters(data: bytes, cuts: list[int]) -> None:
    texts, tokens, _ = run(pieces := pieces_of(data, cuts), [])
    assert "".join(texts) == data.decode("utf-8", "replace")
    assert tokens == list(range(len(pieces)))


@given(text=ALPHABET, stops=STOPS, cuts=CUTS, n_fed=st.integers(min_value=0, max_value=30))
def test_released_tokens_stand_for_the_released_text(
    text: str, stops: list[str], cuts: list[int], n_fed: int
) -> None:
    pieces = pieces_of(text.encode(), cuts)
    detokenizer = Detokenizer(stops)
    shown = ""
    tokens: list[int] = []
    for token, piece in enumerate(pieces[:n_fed]):
        released = detokenizer.feed(token, piece)
        if detokenizer.stop_text:
            return
        shown += released.text
        tokens += released.tokens
    assert b"".join(pieces[token] for token in tokens) == shown.encode()


@given(text=ALPHABET, stops=STOPS)
def test_open_text_is_the_longest_end_that_begins_a_stop_text(text: str, stops: list[str]) -> None:
    n = n_open(text, stops)
    beginnings = {stop[:size] for stop in stops for size in range(1, len(stop))}
    assert n == max((size for size in range(1, len(text) + 1) if text[-size:] in beginnings), default=0)


def test_an_unfinished_character_at_the_end_becomes_one_replacement_character() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed(1, "😀".encode()[:3]).text == ""
    assert detokenizer.finish().text == "\ufffd"


def test_a_possible_stop_text_is_held_and_released_when_it_is_none() -> None:
    detokenizer = Detokenizer(["<end>"])
    assert detokenizer.feed(1, b"ok").text == "ok"
    assert detokenizer.feed(2, b"<en").text == ""
    assert detokenizer.feed(3, b"try>").text == "<entry>"


def test_the_longest_of_two_stop_texts_that_end_together_wins() -> None:
    assert find_stop("x ab", ["b", "ab"]) is not None
    match = find_stop("x ab", ["b", "ab"])
    assert match is not None and (match.start, match.text) == (2, "ab")


# On another worker.


def released_by(
    detokenizer: Detokenizer, pieces: list[bytes], begin: int, n_fed: int
) -> tuple[list[int], str, bool]:
    """Feed up to `n_fed` pieces from `begin` on, then finish if they are all; tokens, text, has it ended."""
    tokens: list[int] = []
    text = ""
    for token in range(begin, min(begin + n_fed, len(pieces))):
        if detokenizer.stop_text:
            break
        released = detokenizer.feed(token, pieces[token])
        tokens += released.tokens
        text += released.text
    has_ended = bool(detokenizer.stop_text)
    if not has_ended and begin + n_fed > len(pieces):
        released = detokenizer.finish()
        tokens += released.tokens
        text += released.text
        has_ended = True
    return tokens, text, has_ended


ANY_BYTES = st.one_of(st.binary(max_size=20), ALPHABET.map(str.encode))


@given(data=ANY_BYTES, stops=STOPS, cuts=CUTS, lengths=st.lists(st.integers(0, 12), max_size=4))
@example(data=b"x<end>", stops=["<end>"], cuts=[3], lengths=[3])
@example(data=b"x<end>y", stops=["<end>"], cuts=[7], lengths=[1])
@example(data=b"abX", stops=["abX", "be?"], cuts=[1], lengths=[2])
@example(data="é".encode()[:1], stops=[], cuts=[1], lengths=[2, 1])
@example(data=b"a<e", stops=["<end>"], cuts=[2], lengths=[3, 1])
def test_a_text_that_goes_on_elsewhere_is_the_unbroken_one(
    data: bytes, stops: list[str], cuts: list[int], lengths: list[int]
) -> None:
    """Each worker dies after it fed as many pieces as told, the last ones maybe after the end itself."""
    pieces = pieces_of(data, cuts)
    whole_texts, whole_tokens, stop_text = run(pieces, stops)
    tokens: list[int] = []
    text = ""
    for n_fed in (*lengths, len(pieces) + 1):
        detokenizer = Detokenizer(stops)
        detokenizer.resume((pieces[token] for token in tokens), len(text))
        more_tokens, more_text, has_ended = released_by(detokenizer, pieces, len(tokens), n_fed)
        tokens += more_tokens
        text += more_text
        assert "".join(whole_texts).startswith(text)
        assert tokens == list(range(len(tokens)))
    assert has_ended
    assert (text, tokens) == ("".join(whole_texts), whole_tokens)
    assert detokenizer.stop_text == stop_text


def test_a_stop_text_that_begins_in_what_is_shown_already_ends_the_text() -> None:
    """There the other stop text kept "be" back, so that "a" was shown; here the text goes on otherwise."""
    detokenizer = Detokenizer(["abX", "be?"])
    shown = detokenizer.feed(0, b"a").text + detokenizer.feed(1, b"b").text + detokenizer.feed(2, b"e").text
    assert shown == "a"
    other = Detokenizer(["abX", "be?"])
    other.resume([b"a"], 1)
    assert other.feed(1, b"bX").text == ""
    assert other.stop_text == "abX"


def test_without_a_length_all_text_of_the_tokens_is_shown() -> None:
    detokenizer = Detokenizer(["<end>"])
    detokenizer.resume([b"ab", b"c<"])
    assert detokenizer.feed(2, b"d").text == "d"
