"""A provider and a time go in; the pages of its usage and cost reports, asked of its admin API, come out.

The key is an organization's admin key, OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY: it is for this command alone and
nothing of Metrion keeps it. Where the API is says METRION_UPSTREAM_OPENAI or METRION_UPSTREAM_ANTHROPIC.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import aiohttp

from shared import providers, tls
from shared.accounts_admin import AccountError

PAGES = 500  # of one report; a server that never comes to an end is broken
ATTEMPTS, PAUSE = 4, 1.0  # for 429 and 5xx; the pause in seconds doubles, unless the server names one
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
    """Each report of the days from `since` to before `until` (midnights in UTC): its path, and a JSON list of pages.

    AccountError, without the key, when there is none or the provider does not answer as it should.
    """
    variable = f"{provider.upper()}_ADMIN_KEY"
    key = environ.get(variable, "")
    if not key:
        raise AccountError(f"{variable} is not set; without an admin key name files that hold the reports")
    known = providers.BUILT_IN[provider]
    upstream = (environ.get(f"METRION_UPSTREAM_{provider.upper()}") or known.upstream).rstrip("/")
    try:
        context = tls.context(environ.get("METRION_CA_FILE", ""))
    except OSError as error:
        raise AccountError(f"METRION_CA_FILE: {error}") from None
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
    """All pages of one report as a JSON list, each as it came."""
    pages: list[str] = []
    following = ""
    while len(pages) < PAGES:
        text = await _page(session, url, [*query, ("page", following)] if following else query)
        page = _decoded(url, text)
        pages.append(text)
        following = page.get("next_page") or ""
        if not page.get("has_more") or not following:
            return f"[{','.join(pages)}]".encode()
    raise AccountError(f"{url} has more than {PAGES} pages")


async def _page(session: aiohttp.ClientSession, url: str, query: Query) -> str:
    pause = PAUSE
    for attempt in range(ATTEMPTS):
        try:
            async with session.get(url, params=query, allow_redirects=False) as answer:
                text = await answer.text(errors="replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise AccountError(f"{url}: the provider does not answer ({type(error).__name__})") from None
        if answer.status == 200:
            return text
        if answer.status not in (429, 500, 502, 503, 529) or attempt == ATTEMPTS - 1:
            raise AccountError(f"{url}: the provider answers {answer.status}: {_message(text)}")
        await asyncio.sleep(_named(answer.headers.get("Retry-After", "")) or pause)
        pause *= 2
    raise AssertionError("the loop ends with an answer or an error")


def _decoded(url: str, text: str) -> dict[str, Any]:
    try:
        page = json.loads(text)
    except ValueError:
        page = None
    if not isinstance(page, dict):
        raise AccountError(f"{url}: the provider's answer is no JSON object")
    return page


def _message(text: str) -> str:
    """What an error says, in one short line."""
    try:
        found = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        found = text
    return " ".join(str(found).split())[:200]


def _named(seconds: str) -> float:
    """The pause that the server asks for, at most half a minute; 0 for none."""
    return min(float(seconds), 30.0) if seconds.isdecimal() else 0.0


def _rfc3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
