"""Fetches a release of genai-prices from a file, a URL, or a package index.

Nothing else is contacted.
An index states the hash of each file; for any other URL the hash must be given, in its fragment (#sha256=…) or
separately. Redirects are not followed.
"""

import asyncio
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import aiohttp
import msgspec
from yarl import URL

from shared import tls, urls
from shared.pricing.update import genai_release
from shared.pricing.update.genai_release import MOST_BYTES
from shared.version import VERSION

BUNDLED = "bundled"  # the prices of the installed package
_SECONDS = 60.0
_MOST_INDEX = 4 << 20
_PROJECT = "genai-prices"
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_WHEEL = re.compile(r"genai_prices-(\d+(?:\.\d+)*)-py3-none-any\.whl")  # final releases only
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SourceError(Exception):
    """A source that cannot be used; the message has no credentials."""


class Fetched(msgspec.Struct, frozen=True):
    """The bytes of a release, and where they come from, without credentials."""

    data: bytes
    origin: str


class _File(msgspec.Struct, frozen=True):
    version: tuple[int, ...]
    url: str
    sha256: str


def is_url(source: str) -> bool:
    """Whether a source is fetched over the network."""
    return source.startswith(("http://", "https://"))


def needs_hash(source: str) -> bool:
    """Whether the source is a URL that neither has a hash nor is an index."""
    url, fragment = urldefrag(source)
    return is_url(source) and url.endswith((".whl", ".json")) and not fragment.startswith("sha256=")


def digest(text: str) -> str:
    """The hexadecimal digits of a hash: "sha256:…", "sha256=…" or bare.

    Raises SourceError if it is none.
    """
    bare = re.sub(r"^sha256[:=]", "", text.strip().lower())
    if not _SHA256.fullmatch(bare):
        raise SourceError("a hash must be sha256: and 64 hexadecimal digits")
    return bare


async def fetch(source: str, *, sha256: str = "", ca_file: str = "") -> Fetched:
    """Fetch a release and check its hash; SourceError if that fails."""
    wanted = digest(sha256) if sha256 else ""
    if not is_url(source):
        return _checked(await asyncio.to_thread(_read_file, source), origin=source, sha256=wanted)
    url, fragment = urldefrag(source)
    if fragment:
        stated = digest(fragment)
        if wanted and wanted != stated:
            raise SourceError("two different hashes are given")
        wanted = stated
    if needs_hash(source) and not wanted:
        raise SourceError(f"{urls.masked(url)}: a hash is needed, --hash sha256:… or #sha256=… behind the URL")
    try:
        async with asyncio.timeout(_SECONDS), _session(ca_file) as session:
            if not url.endswith((".whl", ".json")):
                file = await _newest(session, url)
                if wanted and wanted != file.sha256:
                    raise SourceError(f"the index states the hash sha256:{file.sha256}, not the one that was given")
                url, wanted = file.url, file.sha256
            data = await _get(session, url, most=MOST_BYTES)
    except TimeoutError:
        raise SourceError(f"{urls.masked(url)}: no answer within {_SECONDS:.0f} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise SourceError(f"{urls.masked(url)}: {type(error).__name__} {urls.masked(str(error))[:200]}") from None
    return _checked(data, origin=urls.masked(url), sha256=wanted)


def _read_file(path: str) -> bytes:
    if path == BUNDLED:
        return genai_release.installed()
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    if len(data) > MOST_BYTES:
        raise SourceError(f"{path}: larger than {MOST_BYTES >> 20} MB")
    return data


def _checked(data: bytes, *, origin: str, sha256: str) -> Fetched:
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise SourceError(f"{origin}: its hash is sha256:{found}, not the expected one; nothing was used of it")
    return Fetched(data, origin)


def _session(ca_file: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls.context(ca_file)),
        trust_env=True,  # HTTPS_PROXY and the like
        headers={"User-Agent": f"Metrion/{VERSION}"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _get(session: aiohttp.ClientSession, url: str, *, most: int, accept: str = "*/*") -> bytes:
    async with session.get(url, allow_redirects=False, headers={"Accept": accept}) as response:
        if response.status != 200:
            where = urls.masked(response.headers.get("Location", ""))[:200]
            raise SourceError(f"{urls.masked(url)}: status {response.status}{f', {where}' if where else ''}")
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(1 << 16):
            size += len(chunk)
            if size > most:
                raise SourceError(f"{urls.masked(url)}: larger than {most >> 20} MB")
            chunks.append(chunk)
        return b"".join(chunks)


async def _newest(session: aiohttp.ClientSession, index: str) -> _File:
    """The newest final release that an index has, as its simple API lists it in JSON or HTML."""
    page = index.rstrip("/") + "/"
    if page.rsplit("/", 2)[-2].lower() != _PROJECT:
        page += f"{_PROJECT}/"
    content = await _get(session, page, most=_MOST_INDEX, accept=_ACCEPT)
    read = _json_links if content.lstrip()[:1] == b"{" else _html_links
    try:
        links = await asyncio.to_thread(read, content)
    except (ValueError, RecursionError, AssertionError) as error:  # AssertionError: html.parser on broken markup
        raise SourceError(f"{urls.masked(page)}: not the page of a package index: {str(error)[:200]}") from None
    files = []
    for link, stated in links:
        url, fragment = urldefrag(urljoin(page, link))
        match = _WHEEL.fullmatch(unquote(url.rsplit("/", 1)[-1]))
        sha256 = stated or fragment.removeprefix("sha256=")
        if match and _SHA256.fullmatch(sha256) and is_url(url):
            files.append(_File(tuple(map(int, match.group(1).split("."))), url, sha256))
    if not files:
        raise SourceError(f"{urls.masked(page)}: lists no wheel of {_PROJECT} with a SHA-256 hash")
    newest = max(files, key=lambda file: file.version)
    if page.startswith("https://") and not newest.url.startswith("https://"):
        raise SourceError(f"{urls.masked(page)}: lists a file without TLS")
    return msgspec.structs.replace(newest, url=_with_credentials(newest.url, page))


def _with_credentials(url: str, page: str) -> str:
    """The URL of a file with the index's user and password, if it lies on the same server."""
    file, index = URL(url), URL(page)
    if file.user is None and index.user is not None and file.origin() == index.origin():
        file = file.with_user(index.user).with_password(index.password)
    return str(file)


class _Listed(msgspec.Struct, frozen=True):
    url: str
    hashes: dict[str, str] = {}
    yanked: bool | str = False


class _Project(msgspec.Struct, frozen=True):
    files: list[_Listed]


def _json_links(content: bytes) -> list[tuple[str, str]]:
    project = msgspec.json.decode(content, type=_Project)
    return [(file.url, file.hashes.get("sha256", "")) for file in project.files if file.yanked is False]


def _html_links(content: bytes) -> list[tuple[str, str]]:
    parser = _Links()
    parser.feed(content.decode("utf-8", "replace"))
    return [(link, "") for link in parser.links]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href") and "data-yanked" not in given:
            self.links.append(given["href"] or "")
