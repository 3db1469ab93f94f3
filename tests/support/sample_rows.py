"""Generator of sample rows, with the totals that queries must report."""

import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from services.logger import rows
from services.logger.rows import ResponseRow
from shared.pricing import cost_columns

START = datetime(2026, 10, 20, tzinfo=UTC)
DAYS = 22  # to the 11th of November: New York leaves summer time on the 1st, a month ends in each zone at another hour
MODELS = (
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4o", ""),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("grok", "grok-4", "grok-4"),
)
REQUESTERS = ("ann", "bob", "=eve", "", "Zoë")
ENDS = (
    # outcome, status, error_type, weight
    ("complete", 200, "", 80),
    ("complete", 429, "rate_limit_error", 5),
    ("complete", 200, "overloaded_error", 2),
    ("upstream_error", 502, "unreachable", 2),
    ("upstream_closed", 200, "", 2),
    ("timeout", 504, "first_byte_timeout", 2),
    ("client_closed", 499, "", 5),
)
CENT = Decimal("1E-12")


def generate(seed: int, *, account: str, count: int) -> list[ResponseRow]:
    """Rows in the order in which they come to be: every version of each request, some of them twice, retries among them."""
    chance = random.Random(seed)
    made: list[ResponseRow] = []
    for _ in range(count):
        row = _request(chance, account)
        made += _versions(chance, row)
        while row.outcome != "complete" and chance.random() < 0.6:
            row = _retry(chance, row)
            made += _versions(chance, row)
    return made


def newest(made: Iterable[ResponseRow]) -> list[ResponseRow]:
    """One row a request: its highest version."""
    found: dict[str, ResponseRow] = {}
    for row in made:
        if row.id not in found or found[row.id].version <= row.version:
            found[row.id] = row
    return list(found.values())


def within(known: Sequence[ResponseRow], since: datetime, until: datetime, *, account: str = "") -> list[ResponseRow]:
    """Those that arrived from `since` to before `until`."""
    return [row for row in known if since <= row.started_at < until and account in ("", row.account)]


def _request(chance: random.Random, account: str) -> ResponseRow:
    provider, asked, answered = chance.choice(MODELS)
    outcome, status, error, _ = chance.choices(ENDS, [weight for *_, weight in ENDS])[0]
    at = START + timedelta(seconds=chance.randrange(DAYS * 86400), microseconds=chance.randrange(1_000_000))
    cache = chance.choices(("", "MISS", "REFRESH", "HIT"), (70, 12, 3, 15))[0] if outcome == "complete" else ""
    row = ResponseRow(
        id=_id(chance),
        account=account,
        token=chance.choice(("app", "ci")),
        requester=chance.choice(REQUESTERS),
        metadata=chance.choice(({}, {"project": "apollo"}, {"project": "gemini", "env": "prod"}, {"env": "test"})),
        provider=provider,
        dialect="openai_chat",
        endpoint="POST /v1/chat/completions",
        model_requested=asked,
        model=answered,
        stream=chance.random() < 0.5,
        started_at=at,
        gateway="gateway-0",
        status=200 if cache == "HIT" else status,
        outcome=outcome,
        error_type="" if cache == "HIT" else error,
        latency_ms=chance.randrange(50, 90_000),
        ttfb_ms=chance.choice((None, chance.randrange(20, 9_000))),
        request_bytes=chance.randrange(100, 100_000),
        cache=cache,
        version=rows.VERSION_ANSWERED,
        spool="s",
        epoch=1,
        sequence=0,
    )
    return _billed(_priced(chance, _of_a_client(row)))


def _of_a_client(row: ResponseRow) -> ResponseRow:
    """Two of three requests come from coding agents, in sessions from noon to noon."""
    number = int(row.id[-4:], 16)
    if number % 3 == 0:
        return row
    client, version = (("claude-cli", "2.1.332"), ("codex_exec", "0.171.0"))[number % 2]
    session = f"{row.requester}-{(row.started_at - timedelta(hours=12)):%m-%d}"
    return msgspec.structs.replace(
        row,
        client=client,
        client_version=version,
        session=session,
        agent=("", "cli", "reviewer")[number % 5 % 3],
        connection=session if client == "codex_exec" else "",
        turn=f"{session}-{row.started_at:%H}" if client == "codex_exec" else row.id if number % 7 < 3 else "",
    )


def _billed(row: ResponseRow) -> ResponseRow:
    """Some of Codex's requests are of a subscription: they cost nothing by themselves."""
    if row.client != "codex_exec" or int(row.id[-4:], 16) & 12 or row.cost == 0:
        return row
    return msgspec.structs.replace(
        row,
        billing="subscription",
        cost=cost_columns.ZERO,
        cost_reason=f"subscription:{row.cost_reason}" if row.cost_reason else "subscription",
        cost_source="free",
        cost_equivalent=row.cost,
    )


def _priced(chance: random.Random, row: ResponseRow) -> ResponseRow:
    cost: Decimal | None = chance.randrange(1, 10**11) * CENT
    unknown = row.outcome != "complete" or chance.random() < 0.1
    source = chance.choices(("reported", "estimated", "drained", "guessed price", "imported"), (70, 10, 10, 5, 5))[0]
    fields: dict[str, object] = {
        "input_tokens": None if unknown and chance.random() < 0.5 else chance.randrange(10**6),
        "output_tokens": None if unknown and chance.random() < 0.5 else chance.randrange(10**5),
        "cache_read_tokens": chance.randrange(1000),
        "reasoning_tokens": chance.randrange(1000),
        "usage_source": "absent" if unknown else "reported" if source == "guessed price" else source,
        "cost_source": "none" if unknown else "estimated" if source in ("estimated", "guessed price") else "computed",
        "cost": None if unknown else cost,
        "cost_reason": chance.choice(("unknown_model", "usage_absent")) if unknown else "",
    }
    if row.cache == "HIT":
        fields |= {
            "cost": cost_columns.ZERO,
            "cost_reason": cost_columns.CACHE_HIT,
            "cost_saved": None if unknown else cost,
        }
    elif row.status in (429, 502):
        fields |= {"cost": cost_columns.ZERO, "cost_reason": "error", "cost_source": "free"}
    return msgspec.structs.replace(row, **fields)


def _versions(chance: random.Random, row: ResponseRow) -> list[ResponseRow]:
    """What is stored of one request: mostly its answer; sometimes it was interrupted first, or for good, or priced again."""
    before = msgspec.structs.replace(
        row, version=1, outcome="interrupted", status=0, cost=None, cost_reason="interrupted", cost_source="",
        usage_source="absent", input_tokens=None, output_tokens=None, cache_read_tokens=0, reasoning_tokens=0, cache="",
        error_type="", latency_ms=0, ttfb_ms=None, model="", cost_saved=cost_columns.ZERO,
    )  # fmt: skip
    fate = chance.random()
    if fate < 0.02:
        return [before]
    if fate < 0.05:
        return [row, before]
    if fate < 0.10 and row.cost is not None and row.cache != "HIT":
        return [row, msgspec.structs.replace(row, version=3, cost=row.cost * 2), row]
    return [row, row] if fate < 0.2 else [row]


def _retry(chance: random.Random, failed: ResponseRow) -> ResponseRow:
    outcome, status, error, _ = chance.choices(ENDS, [weight for *_, weight in ENDS])[0]
    pause = chance.choice((0.5, 2, 59, 61, 600))
    at = failed.started_at + timedelta(milliseconds=failed.latency_ms) + timedelta(seconds=pause)
    row = msgspec.structs.replace(
        failed,
        id=_id(chance),
        started_at=at,
        outcome=outcome,
        status=status,
        error_type=error,
        cache="",
        cost_saved=cost_columns.ZERO,
    )
    return _priced(chance, row)


def _id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))
