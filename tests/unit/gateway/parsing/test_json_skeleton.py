"""A large answer stays readable where it bears on money, whatever its size and however it is cut into blocks."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.parsing.json_skeleton import MAX_MARKS, Skeleton

TEXT = st.one_of(
    st.text(max_size=40),
    st.text(alphabet='\\"/\n\x00é\ud7ff', max_size=3000),
    st.integers(1000, 5000).map(lambda size: "A" * size),
)
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False, allow_infinity=False)
)
NUMBERS = st.lists(st.floats(-1, 1), max_size=200)
VALUE = st.recursive(
    st.one_of(SCALAR, TEXT, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=10), inner, max_size=5)),
    max_leaves=20,
)


def skeleton(data: bytes, *, size: int) -> Skeleton:
    found = Skeleton()
    for start in range(0, len(data), size):
        found.feed(data[start : start + size])
    return found


@given(VALUE, st.integers(1, 3000), st.booleans(), st.sampled_from([None, 1]))
def test_short_values_survive_in_the_skeleton_however_the_text_is_split(
    value: Any, size: int, ascii_only: bool, indent: int | None
) -> None:
    body = {"before": value, "usage": {"input_tokens": 318, "output_tokens": 540}, "after": value, "last": [1, 2, 3]}
    data = json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    found = msgspec.json.decode(skeleton(data, size=size).json())
    assert found["usage"] == body["usage"] and found["last"] == [1, 2, 3]
    assert list(found) == ["before", "usage", "after", "last"]


@given(st.lists(st.text(alphabet="abc {}[]:,0123", max_size=100), max_size=50), st.integers(1, 200))
def test_short_strings_are_never_touched(texts: list[str], size: int) -> None:
    data = json.dumps(texts).encode()
    assert json.loads(skeleton(data, size=size).json()) == texts


def test_a_picture_and_an_embedding_leave_next_to_nothing() -> None:
    picture = json.dumps({"output": [{"type": "image_generation_call", "result": "A" * 9_500_000}], "usage": {"x": 1}})
    kept = skeleton(picture.encode(), size=65536)
    assert not kept.full
    assert json.loads(kept.json()) == {"output": [{"type": "image_generation_call", "result": ""}], "usage": {"x": 1}}
    vectors = json.dumps({"data": [{"embedding": [0.0123456 + at for at in range(1536)]}] * 300, "usage": {"x": 1}})
    kept = skeleton(vectors.encode(), size=65536)
    assert not kept.full and len(kept.json()) < len(vectors) / 20
    assert json.loads(kept.json())["usage"] == {"x": 1}


def test_a_text_of_many_short_strings_is_bounded_and_says_so() -> None:
    data = json.dumps([{"type": "web_search_call", "n": n} for n in range(300_000)]).encode()
    kept = skeleton(data, size=65536)
    assert kept.full and len(kept.json()) <= 8 << 20 and kept.tail.endswith(b"}]")


def test_a_long_text_full_of_quotes_and_line_ends_is_read_to_its_end() -> None:
    data = json.dumps({"text": 'a "word" \\ and\n' * 500_000, "usage": {"output_tokens": 5}}).encode()
    assert data.count(b"\\") > MAX_MARKS
    for size in (1000, 65536, len(data)):
        kept = skeleton(data, size=size)
        assert not kept.full
        assert json.loads(kept.json()) == {"text": "", "usage": {"output_tokens": 5}}


@given(st.text(alphabet='\\"a'), st.text(alphabet='\\"a', min_size=1, max_size=9), st.integers(1100, 9000))
def test_a_long_string_ends_at_its_first_quote_that_is_not_escaped(start: str, unit: str, repeats: int) -> None:
    data = json.dumps([start + unit * repeats, "after"]).encode()
    for size in (2047, len(data)):
        assert json.loads(skeleton(data, size=size).json()) == ["", "after"]


def test_a_text_whose_skeleton_is_full_is_read_no_further() -> None:
    skeleton = Skeleton(limit=1000)
    skeleton.feed(b'{"a":[' + b'{"k":"v"},' * 200)
    assert skeleton.full
    kept = skeleton.json()
    skeleton._take = skeleton._skip = None  # type: ignore[assignment, method-assign]
    for _ in range(100):
        skeleton.feed(b'{"k":"v"},' * 1000)
    skeleton.feed(b'1],"usage":{"input_tokens":5}}')
    assert skeleton.json() == kept
    assert skeleton.tail.endswith(b'{"k":"v"},1],"usage":{"input_tokens":5}}')
    assert len(skeleton.tail) <= 16 << 10


def test_a_list_of_forty_million_bytes_of_numbers_leaves_its_ends() -> None:
    """Matching each number of it stopped all other requests for a second."""
    data = b'{"a":[0' + b",1" * (20 << 20) + b',2],"b":"' + b"x" * 3000 + b'","c":[' + b"7, " * 900 + b'8],"d":3}'
    for size in (1 << 20, 65537):
        kept = skeleton(data, size=size).json()
        assert len(kept) < 6000
        found = json.loads(kept)
        assert (found["a"][0], found["a"][-1], found["b"], found["d"]) == (0, 2, "", 3)
        assert (found["c"][0], found["c"][-1]) == (7, 8)
