"""Fetches usage and cost reports from a provider's admin API.

It needs an organization's admin key, OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY, which is never stored.
METRION_UPSTREAM_OPENAI or METRION_UPSTREAM_ANTHROPIC overrides the URL of the API.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import aiohttp

from services.cli.errors import Refused
from shared import providers, tls

PAGES = 500  # of one report, in case a server never ends
ATTEMPTS = 4  # on 429 and 5xx; the pause doubles, unless Retry-After is given
PAUSE = 1.0
PATIENCE = 60.0  # seconds for one page

Query = list[tuple[str, str]]


def _openai(since: datetime, until: datetime) -> dict[str, Query]:
    span = [
        ("start_time", str(int(since.timestamp()))),
        ("end_time", str(int(until.timestamp()))),
        ("bucket_width", "1d"),
        ("limit", "31"),
    ]
    return {
        "/v1/organization/usage/completions": [*span, ("group_by", "model"), ("group_by", "batch")],
        "/v1/organization/usage/embeddings": [*span, ("group_by", "model")],
        "/v1/organization/costs": [*span, ("group_by", "line_item")],
    }


def _anthropic(since: datetime, until: datetime) -> dict[str, Query]:
    span = [("starting_at", _rfc3339(since)), ("ending_at", _rfc3339(until)), ("bucket_width", "1d"), ("limit", "31")]
    return {
        "/v1/organizations/usage_report/messages": [*span, ("group_by[]", "model"), ("group_by[]", "service_tier")],
        "/v1/organizations/cost_report": [*span, ("group_by[]", "description")],
    }


_REPORTS = {"openai": _openai, "anthropic": _anthropic}


async def fetch(
    provider: str, since: datetime, until: datetime, *, environ: Mapping[str, str] = os.environ
) -> list[tuple[str, bytes]]:
    """Fetch the reports from `since` to `until` (midnights in UTC, excluded).

    Returns path and JSON list of pages of each. Refused without a key or on errors of the provider.
    """
    variable = f"{provider.upper()}_ADMIN_KEY"
    key = environ.get(variable, "")
    if not key:
        raise Refused(f"{variable} is not set; without an admin key, name files with the reports")
    known = providers.BUILT_IN[provider]
    upstream = (environ.get(f"METRION_UPSTREAM_{provider.upper()}") or known.upstream).rstrip("/")
    try:
        context = tls.context(environ.get("METRION_CA_FILE", ""))
    except OSError as error:
        raise Refused(f"METRION_CA_FILE: {error}") from None
    headers = (
        {"x-api-key": key, "anthropic-version": "2023-06-01"}
        if provider == "anthropic"
        else {"Authorization": f"Bearer {key}"}
    )
    async with aiohttp.ClientSession(
        headers=headers,
        trust_env=True,
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(PATIENCE),
    ) as session:
        reports = _REPORTS[provider](since, until)
        return [(path, await _pages(session, upstream + path, query)) for path, query in reports.items()]


async def _pages(session: aiohttp.ClientSession, url: str, query: Query) -> bytes:
    """Fetch all pages of a report as a JSON list, unchanged."""
    pages: list[str] = []
    following = ""
    while len(pages) < PAGES:
        text = await _page(session, url, [*query, ("page", following)] if following else query)
        page = _decoded(url, text)
        pages.append(text)
        following = page.get("next_page") or ""
        if not page.get("has_more") or not following:
            return f"[{','.join(pages)}]".encode()
    raise Refused(f"{url} has more than {PAGES} pages")


async def _page(session: aiohttp.ClientSession, url: str, query: Query) -> str:
    pause = PAUSE
    for attempt in range(ATTEMPTS):
        try:
            async with session.get(url, params=query, allow_redirects=False) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Refused(f"{url}: the provider does not respond ({type(error).__name__})") from None
        if response.status == 200:
            return text
        if response.status not in (429, 500, 502, 503, 529) or attempt == ATTEMPTS - 1:
            raise Refused(f"{url}: the provider responded {response.status}: {_message(text)}")
        await asyncio.sleep(_retry_after(response.headers.get("Retry-After", "")) or pause)
        pause *= 2
    raise AssertionError("the loop ends with a response or an error")


def _decoded(url: str, text: str) -> dict[str, Any]:
    try:
        page = json.loads(text)
    except ValueError:
        page = None
    if not isinstance(page, dict):
        raise Refused(f"{url}: the response is not a JSON object")
    return page


def _message(text: str) -> str:
    """Return the message of an error response, in one line."""
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text
    return " ".join(str(message).split())[:200]


def _retry_after(seconds: str) -> float:
    """Return the pause in Retry-After, at most 30 seconds; 0 if there is none."""
    return min(float(seconds), 30.0) if seconds.isdecimal() else 0.0


def _rfc3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
