"""Compressed answers are read along whole, and one that would swell without end does not take the gateway's memory."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from services.gateway.inflate import CORRUPT, MOST, inflater

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_an_answer_is_the_same_however_it_was_cut(encoding: str) -> None:
    answer = bytes(random.Random(1).choices(b"abcdef {}", k=300_000))
    packed = COMPRESS[encoding](answer)
    for size in (1, 700, len(packed)):
        inflate = inflater(encoding)
        assert inflate
        assert b"".join(inflate(packed[start : start + size]) for start in range(0, len(packed), size)) == answer


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_few_bytes_that_would_become_very_many_are_given_up(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(MOST * 3))
    inflate = inflater(encoding)
    assert inflate and len(bomb) < MOST / 50
    tracemalloc.start()
    try:
        with pytest.raises(CORRUPT):
            inflate(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * MOST
    finally:
        tracemalloc.stop()
