"""Parses usage and cost reports of a provider's admin API."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec

from services.cli.errors import Refused

ALL = ""  # the model of figures that are not by model
BATCH = " (batch)"  # suffix of a model: batches have other prices


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a report; None for cost in usage reports, for tokens in cost reports."""

    day: date
    model: str
    input_tokens: int | None = None  # includes cached tokens
    output_tokens: int | None = None
    cost: Decimal | None = None  # USD


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of all files, and the period they cover."""

    lines: tuple[Counted, ...]
    since: datetime
    until: datetime
    is_truncated: bool  # a file ends before its last page


class _Bucket(msgspec.Struct):
    results: list[msgspec.Raw]
    start_time: int | None = None  # OpenAI: seconds since 1970
    end_time: int | None = None
    starting_at: datetime | None = None  # Anthropic
    ending_at: datetime | None = None

    def period(self) -> tuple[datetime, datetime]:
        """Return start and end in UTC; ValueError when they are missing."""
        if self.start_time is not None and self.end_time is not None:
            return datetime.fromtimestamp(self.start_time, UTC), datetime.fromtimestamp(self.end_time, UTC)
        if self.starting_at is None or self.ending_at is None:
            raise ValueError("a bucket without a time")
        return self.starting_at.astimezone(UTC), self.ending_at.astimezone(UTC)


class _Page(msgspec.Struct):
    data: list[_Bucket]
    has_more: bool = False


class _Amount(msgspec.Struct):
    value: Decimal
    currency: str


class _OpenAI(msgspec.Struct):
    """A result of organization/usage/… or organization/costs."""

    object: str
    model: str | None = None
    batch: bool | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    amount: _Amount | None = None
    line_item: str | None = None


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0


class _Anthropic(msgspec.Struct):
    """A result of usage_report/messages or cost_report."""

    model: str | None = None
    service_tier: str | None = None
    uncached_input_tokens: int | None = None
    cache_creation: _CacheCreation = msgspec.field(default_factory=_CacheCreation)
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    amount: Decimal | None = None  # in cents
    currency: str = "USD"
    description: str | None = None


def read(provider: str, files: Iterable[tuple[str, bytes]]) -> Report:
    """Parse files (name, content), each a page or list of pages; may be Refused."""
    lines: list[Counted] = []
    starts: list[datetime] = []
    ends: list[datetime] = []
    is_truncated = False
    for name, content in files:
        try:
            pages = _pages(content)
            for page in pages:
                for bucket in page.data:
                    start, end = bucket.period()
                    starts.append(start)
                    ends.append(end)
                    lines += [_READERS[provider](start.date(), result) for result in bucket.results]
            is_truncated = is_truncated or not pages or pages[-1].has_more
        except (msgspec.MsgspecError, ValueError, OverflowError, OSError) as error:
            raise Refused(f"{name} is not a usage or cost report of {provider}: {error}") from None
    if not starts:
        raise Refused("the files have no time buckets")
    return Report(lines=tuple(lines), since=min(starts), until=max(ends), is_truncated=is_truncated)


def _pages(content: bytes) -> list[_Page]:
    if content.lstrip().startswith(b"["):
        return msgspec.json.decode(content, type=list[_Page])
    return [msgspec.json.decode(content, type=_Page)]


def _openai(day: date, result: msgspec.Raw) -> Counted:
    line = msgspec.json.decode(result, type=_OpenAI, strict=False)
    if line.object == "organization.costs.result":
        if line.amount is None:
            raise ValueError("a cost without an amount")
        _in_dollars(line.amount.currency)
        return Counted(day=day, model=_line_item(line.line_item), cost=line.amount.value)
    if not line.object.startswith("organization.usage."):
        raise ValueError(f"unexpected result {line.object}")
    model = _model(line.model, batch=bool(line.batch))
    return Counted(day=day, model=model, input_tokens=line.input_tokens, output_tokens=line.output_tokens)


def _line_item(name: str | None) -> str:
    """Return the model of a line item, "gpt-4o-2024-08-06, cached input"; others (storage, tools) keep their name."""
    return (name or ALL).split(", ")[0]


def _anthropic(day: date, result: msgspec.Raw) -> Counted:
    line = msgspec.json.decode(result, type=_Anthropic, strict=False)
    model = _model(line.model, batch=line.service_tier == "batch")
    if line.amount is not None:
        _in_dollars(line.currency)
        return Counted(day=day, model=model or line.description or ALL, cost=line.amount / 100)  # cents
    if line.uncached_input_tokens is None:
        raise ValueError("a result without tokens and without an amount")
    written = line.cache_creation.ephemeral_1h_input_tokens + line.cache_creation.ephemeral_5m_input_tokens
    total = line.uncached_input_tokens + written + line.cache_read_input_tokens
    return Counted(day=day, model=model, input_tokens=total, output_tokens=line.output_tokens)


def _model(name: str | None, *, batch: bool) -> str:
    return name + (BATCH if batch else "") if name else ALL


def _in_dollars(currency: str) -> None:
    if currency.upper() != "USD":
        raise ValueError(f"amounts in {currency}")


_READERS = {"openai": _openai, "anthropic": _anthropic}
PROVIDERS = tuple(_READERS)
