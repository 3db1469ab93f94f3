"""Rewriting of provider URLs in responses, so that they lead to the gateway.

These are the `results_url` of Anthropic's batches, and `Location` or upload URLs in headers. An SDK that followed the
original would bypass the gateway, with the Metrion token in its header. Every other byte stays as it is.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import quote, urlsplit

from aiohttp import hdrs
from multidict import CIMultiDict

from services.gateway.request.routing import ROOT, Route
from shared.providers import ANTHROPIC_API, BUILT_IN, Provider

_HEADERS = frozenset(
    {"location", "x-goog-upload-url", "x-goog-upload-control-url", "operation-location", "azure-asyncoperation"}
)
_UPLOAD = "x-goog-upload-"
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_KEY = b'"results_url"'
_MAX_HELD = 1024  # bytes from a key to the end of an origin
_KEY_PARAMETER = re.compile(r"(?<=[?&])key=[^&]*&?")


def gateway_url(headers: Mapping[str, str], *, setting: str) -> str:
    """The gateway's base URL as this client knows it; "" if it is unknown.

    `setting`: the operator's public URL, if set. Else what a reverse proxy states, else the Host header.
    """
    if setting:
        return setting.rstrip("/")
    host = (headers.get("X-Forwarded-Host") or headers.get(hdrs.HOST) or "").partition(",")[0].strip()
    scheme = headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    if not _HOST.fullmatch(host):
        return ""
    return f"{scheme if scheme == 'https' else 'http'}://{host}"


def names_url(header: str) -> bool:
    """Whether a response header of this name holds a URL that clients follow."""
    return header.lower() in _HEADERS


def rewrite_headers(
    headers: CIMultiDict[str], names: list[str], *, route: Route, gateway: str, credential: str
) -> None:
    """Rewrite provider URLs in the headers `names`.

    Google's SDK uploads without credentials: to Google, the upload URL is the credential. For the gateway, the client's
    own `credential` is therefore added as `key=`, as Google's APIs take it.
    """
    for name in names:
        changed = _rewritten(headers[name], route.provider, gateway)
        if changed == headers[name]:
            continue
        if name.lower().startswith(_UPLOAD) and credential:
            changed += f"{'&' if '?' in changed else '?'}key={quote(credential, safe='')}"
        headers[name] = changed


class ResultsUrls:
    """Streaming rewriter of `results_url` in a JSON document.

    Holds back at most the unfinished origin of a URL.
    """

    def __init__(self, provider: Provider, gateway: str) -> None:
        self.failed: Callable[[Exception], object] | None = None  # called on a defect; the bytes then pass unchanged
        self._pattern = _pattern(provider)
        self._ours = b"\\1" + f"{gateway}{ROOT}{provider.name}".encode().replace(b"\\", b"\\\\")
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Rewrite the next chunk; returns what is certain so far."""
        data = self._rest + data
        try:
            cut = _safe(data)
            passed = self._pattern.sub(self._ours, data[:cut])
        except Exception as error:
            return self._give_up(error, data)
        self._rest = data[cut:]
        return passed

    def end(self) -> bytes:
        """Return what was held back at the end of the document."""
        rest, self._rest = self._rest, b""
        if not rest:
            return b""
        try:
            return self._pattern.sub(self._ours, rest)
        except Exception as error:
            return self._give_up(error, rest)

    def _give_up(self, error: Exception, held: bytes) -> bytes:
        """Pass these and all further bytes unchanged: a defect must not reach the client."""
        if self.failed is None:
            raise error
        self.failed(error)
        self._rest = b""
        self.feed = _unchanged  # type: ignore[method-assign]
        return held


def _unchanged(data: bytes) -> bytes:
    return data


def _safe(data: bytes) -> int:
    """Number of bytes that cannot be the beginning of a `results_url`."""
    key = data.rfind(_KEY)
    if key >= 0 and len(data) - key < _MAX_HELD:
        return key
    beginning = data.rfind(b'"', max(len(data) - len(_KEY) + 1, 0))
    return beginning if beginning >= 0 and _KEY.startswith(data[beginning:]) else len(data)


@lru_cache(maxsize=64)
def _pattern(provider: Provider) -> re.Pattern[bytes]:
    """Pattern of a `results_url` up to the end of the provider's origin and path prefix."""
    origins = "|".join(re.escape(origin).replace("/", r"\\?/") for origin in _origins(provider))
    return re.compile(rf'("results_url"\s{{0,64}}:\s{{0,64}}")(?:{origins})(?=\\?/|")'.encode())


@lru_cache(maxsize=64)
def _origins(provider: Provider) -> tuple[str, ...]:
    """The upstream, its bare origin, and the API's own origin, which a proxy in between may leave in place."""
    parts = urlsplit(provider.upstream)
    original = next((known.upstream for known in BUILT_IN.values() if known.api == provider.api == ANTHROPIC_API), "")
    origins = (provider.upstream.rstrip("/"), f"{parts.scheme}://{parts.netloc}", original)
    return tuple(dict.fromkeys(origin for origin in origins if origin))


def _rewritten(url: str, provider: Provider, gateway: str) -> str:
    """The URL at the gateway; unchanged if it is not the provider's own."""
    origins = _origins(provider)
    own = next((each for each in origins if url == each or url.startswith((f"{each}/", f"{each}?"))), None)
    if own is None and not (url.startswith("/") and not url.startswith("//")):
        return url
    rest = url[len(own) :] if own is not None else url.removeprefix(urlsplit(provider.upstream).path.rstrip("/"))
    return f"{gateway}{ROOT}{provider.name}{_KEY_PARAMETER.sub('', rest)}".rstrip("?&")
