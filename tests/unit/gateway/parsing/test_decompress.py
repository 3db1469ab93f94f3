"""Compressed answers are read along whole, and one that would swell without end does not take the gateway's memory."""

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from services.gateway.parsing import decompress_body
from services.gateway.parsing.decompress import CORRUPT, PASSED, READ, Opening, inflater


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def members(data: bytes, count: int = 40) -> bytes:
    step = len(data) // count + 1
    return b"".join(gzip.compress(data[at : at + step], 1) for at in range(0, len(data), step))


def frames(data: bytes) -> bytes:
    pack = zstandard.ZstdCompressor().compress
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    return pack(data[:1000]) + skippable + pack(b"") + pack(data[1000:])


FREE = READ.free

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_response_is_the_same_however_it_was_cut(encoding: str) -> None:
    response = bytes(random.Random(1).choices(b"abcdef {}", k=300_000))
    packed = COMPRESS[encoding](response)
    for size in (1, 700, len(packed)):
        inflate = inflater(encoding)
        assert inflate
        assert b"".join(inflate(packed[start : start + size]) for start in range(0, len(packed), size)) == response


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_few_bytes_that_would_become_very_many_are_given_up(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(FREE * 3))
    inflate = inflater(encoding)
    assert inflate and len(bomb) < FREE / 50
    tracemalloc.start()
    try:
        with pytest.raises(CORRUPT):
            inflate(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * FREE
    finally:
        tracemalloc.stop()


ODD: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "raw deflate": ("deflate", raw_deflate),
    "raw deflate called gzip": ("gzip", raw_deflate),
    "zlib called gzip": ("gzip", zlib.compress),
    "gzip called deflate": ("deflate", gzip.compress),
    "gzip of several members": ("gzip", members),
    "members and padding": ("x-gzip", lambda data: members(data) + bytes(600)),
    "members and garbage": ("gzip", lambda data: members(data) + b"garbage" * 9),
    "empty members": ("gzip", lambda data: gzip.compress(b"") + members(data) + gzip.compress(b"")),
    "gzip twice": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    "listed in order": (" GZIP ,, identity,br", lambda data: brotli.compress(gzip.compress(data))),
    "three": ("deflate,zstd,gzip", lambda data: members(zstandard.compress(raw_deflate(data)))),
    "zstd of several frames": ("zstd", frames),
    "brotli and a byte": ("br", lambda data: brotli.compress(data, quality=1)),
}


@pytest.mark.parametrize(("encoding", "pack"), ODD.values(), ids=ODD)
def test_codings_as_servers_really_send_them_are_read(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    response = bytes(random.Random(1).choices(b"abcdef {}", k=30_000))
    packed = pack(response)
    for size in (1, 7, 700, len(packed)):
        inflate = inflater(encoding)
        assert inflate
        assert b"".join(inflate(packed[start : start + size]) for start in range(0, len(packed), size)) == response


@pytest.mark.parametrize("encoding", ["snappy", "gzip, compress", "gzip,gzip,gzip,gzip", "br;q=1", "*"])
def test_unknown_content_coding_is_an_error(encoding: str) -> None:
    with pytest.raises(LookupError):
        inflater(encoding)


@pytest.mark.parametrize("encoding", ["", "identity", " , identity,", "Identity"])
def test_identity_needs_no_decompressor(encoding: str) -> None:
    assert inflater(encoding) is None


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "packed twice": ("gzip, gzip", lambda: gzip.compress(gzip.compress(bytes(FREE * 4)))),
    "small members": ("gzip", lambda: gzip.compress(b"") * 100_000),
    "large members": ("gzip", lambda: gzip.compress(bytes(FREE // 2)) * 9),
    "zstd with a large window": ("zstd", lambda: zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27)).compress(bytes(1 << 25))),
}  # fmt: skip


@pytest.mark.parametrize(("encoding", "make"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_in_disguise_is_given_up(encoding: str, make: Callable[[], bytes]) -> None:
    inflate = inflater(encoding)
    assert inflate
    with pytest.raises(CORRUPT):
        inflate(make())


def test_a_response_that_swells_little_by_little_is_given_up() -> None:
    inflate = inflater("gzip")
    assert inflate
    bomb = gzip.compress(bytes(FREE * 8))
    with pytest.raises(CORRUPT):
        for start in range(0, len(bomb), 4096):
            inflate(bomb[start : start + 4096])


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_response_is_decompressed_for_accounting_within_a_budget(encoding: str) -> None:
    block = COMPRESS[encoding](bytes(FREE // 4))
    inflate = inflater(encoding)
    assert inflate
    given = 0
    packed = COMPRESS[encoding](bytes(8 * FREE))
    with pytest.raises(CORRUPT):
        for start in range(0, len(packed), 16):
            given += len(inflate(packed[start : start + 16]))
    assert given <= READ.room(len(packed))
    passing = inflater(encoding, PASSED)
    assert passing and len(passing(block)) == FREE // 4


def test_decompression_for_the_client_has_a_larger_limit() -> None:
    inflate = inflater("gzip", PASSED)
    assert inflate
    assert len(inflate(gzip.compress(bytes(2 * FREE)))) == 2 * FREE


def json_document(size: int) -> bytes:
    """A list of `size` bytes, as providers send them: the same names in each element, of which gzip makes a 20th."""
    numbers = random.Random(1)
    template = json.dumps({f"a_name_that_stands_in_each_element_{number}": None for number in range(12)})[:-1]
    parts = [f'{template},"id":"{numbers.randbytes(12).hex()}"}}' for _ in range(size // len(template))]
    return ('{"data":[' + ",".join(parts) + "]}").encode()


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_large_document_is_read_whole_however_fast_it_arrives(encoding: str) -> None:
    document = json_document(30 << 20)
    packed = COMPRESS[encoding](document)
    assert len(document) / 50 < len(packed) < len(document) / 16
    inflate = inflater(encoding)
    assert inflate and inflate(packed) == document


@pytest.mark.parametrize("bits", [23, 24])
def test_a_brotli_window_that_takes_long_to_fill_is_not_read(bits: int) -> None:
    packed = brotli.compress(b"{}", lgwin=bits)
    inflate = inflater("br")
    assert inflate and decompress_body.unpack(packed, "br") is None
    with pytest.raises(CORRUPT):
        inflate(packed)
    usual = brotli.compress(b"{}", lgwin=22)
    inflate = inflater("br")
    assert inflate and inflate(usual) == b"{}" and decompress_body.unpack(usual, "br") == (b"{}", False)


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_request_that_becomes_larger_than_json_could_is_not_read(encoding: str) -> None:
    assert decompress_body.unpack(COMPRESS[encoding](bytes(5 << 20)), encoding) is None
    text = json_document(5 << 20)
    unpacked = decompress_body.unpack(COMPRESS[encoding](text), encoding)
    assert unpacked is not None and unpacked[0] == text


@pytest.mark.parametrize("encoding", COMPRESS)
def test_the_first_bytes_of_a_response_are_decompressed_once(encoding: str) -> None:
    response = json_document(100_000)
    packed = COMPRESS[encoding](response)
    opening = Opening(packed[:2000], encoding)
    begun = opening.text
    inflate = opening.inflate
    assert inflate and response.startswith(begun)
    assert inflate(packed[:2000]) + inflate(packed[2000:]) == response
    bomb = Opening(COMPRESS[encoding](bytes(5 << 20)), encoding)
    assert bomb.text == b"" and bomb.inflate
    with pytest.raises(CORRUPT):
        bomb.inflate(b"")
    plain = Opening(b"text", "")
    assert (plain.text, plain.inflate) == (b"text", None)
