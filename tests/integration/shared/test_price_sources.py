"""Releases are fetched from what the operator named and nowhere else, and every byte is checked against a hash."""

import hashlib
from pathlib import Path

import pytest

from shared.pricing.update import sources
from shared.pricing.update.sources import SourceError
from tests.support.package_index import package_index

DATA = b"PK release"
HASH = hashlib.sha256(DATA).hexdigest()
WHEEL = "genai_prices-0.2.10-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("as_html", [False, True])
async def test_an_index_gives_its_newest_release_with_the_hash_that_it_states(as_html: bool) -> None:
    async with package_index() as index:
        index.as_html = as_html
        older = ("0.2.9", "0.2.9.1", "0.2.11rc1", "0.3.0")
        index.files = {f"genai_prices-{version}-py3-none-any.whl": b"PK other" for version in older} | {WHEEL: DATA}
        index.yanked = {"genai_prices-0.3.0-py3-none-any.whl"}
        for source in (f"{index.url}/simple", f"{index.url}/simple/genai-prices/"):
            index.requested.clear()
            fetched = await sources.fetch(source)
            assert fetched.data == DATA and fetched.origin == f"{index.url}/files/{WHEEL}"
            assert index.requested == ["/simple/genai-prices/", f"/files/{WHEEL}"]
        index.hashes[WHEEL] = "0" * 64
        with pytest.raises(SourceError, match=f"sha256:{HASH}"):
            await sources.fetch(f"{index.url}/simple/")
        index.files = {"genai_prices-0.2.9.tar.gz": b"x"}
        with pytest.raises(SourceError, match="lists no wheel"):
            await sources.fetch(f"{index.url}/simple/")


async def test_a_url_needs_a_hash_and_a_file_may_have_one(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(DATA)
    async with package_index() as index:
        index.files["data.json"] = DATA
        url = f"{index.url}/files/data.json"
        good = [
            (url, HASH),
            (url, f"sha256:{HASH}"),
            (f"{url}#sha256={HASH.upper()}", ""),
            (str(path), ""),
            (str(path), HASH),
        ]
        for source, sha256 in good:
            assert (await sources.fetch(source, sha256=sha256)).data == DATA
        wrong = "1" * 64
        bad = [
            (url, "", "a hash is needed"), (url, wrong, "not the expected one"), (str(path), wrong, "not the expected one"),
            (f"{url}#sha256={wrong}", "", "not the expected one"), (f"{url}#sha256={HASH}", wrong, "two different hashes"),
            (url, "md5:abc", "64 hexadecimal"), (str(tmp_path / "none"), "", "No such file"), (str(tmp_path), "", "directory"),
        ]  # fmt: skip
        for source, sha256, reason in bad:
            with pytest.raises(SourceError, match=reason):
                await sources.fetch(source, sha256=sha256)


async def test_redirects_errors_and_endless_responses_are_rejected_without_showing_a_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with package_index() as index:
        index.files = {"big.json": b"x" * 2000, WHEEL: DATA}
        monkeypatch.setattr(sources, "MOST_BYTES", 1000)
        host = index.url.removeprefix("http://")
        for path, reason in [
            ("moved.whl", "status 302, https://elsewhere"),
            ("no.whl", "status 404"),
            ("files/big.json", "larger"),
        ]:
            with pytest.raises(SourceError, match=reason) as raised:
                await sources.fetch(f"http://ann:secret@{host}/{path}", sha256=HASH)
            assert "secret" not in str(raised.value)
        index.authorization.clear()
        fetched = await sources.fetch(f"http://ann:secret@{host}/simple/")
        assert fetched.origin == f"http://***@{host}/files/{WHEEL}"
        assert len(index.authorization) == 1 and "" not in index.authorization, "the file's server is the index's"
        url = f"{index.url}/x.json"
    with pytest.raises(SourceError, match="Connect"):
        await sources.fetch(url, sha256=HASH)


@pytest.mark.parametrize(
    "page", [b"<![nothing[", b'<a href="&#' + b"9" * 5000 + b';">', b'{"x":' + b"[" * 200_000, b'{"files":null}', b"{"]
)
async def test_a_page_that_is_not_an_index_is_refused_in_one_line(page: bytes) -> None:
    async with package_index() as index:
        index.page = page
        with pytest.raises(SourceError, match="not the page of a package index") as raised:
            await sources.fetch(f"{index.url}/simple/")
        assert "\n" not in str(raised.value)
