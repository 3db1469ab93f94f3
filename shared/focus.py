"""Cost and usage in FOCUS, the FinOps Open Cost and Usage Specification.

ClickHouse writes the file itself, CSV or Parquet, as a stream: neither side ever holds the whole.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse, providers
from shared.providers import Provider

CSV, PARQUET = "csv", "parquet"
_FORMATS = {CSV: "CSVWithNames", PARQUET: "Parquet"}
VERSIONS = ("1.2", "1.3")
MOST_TAGS = 10  # metadata keys that become tags unless some are named
MOST_VALUES = 100  # of a metadata key that becomes a tag unless it is named: each value is a row of its own

# Columns of FOCUS in the order of their names, among them all that 1.0 requires; then our own.
_COLUMNS = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId",
    "CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "HostProviderName", "InvoiceId", "InvoiceIssuerName",
    "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory",
    "ServiceName", "ServiceProviderName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId",
    "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
)  # fmt: skip
_OWN_COLUMNS = (
    "x_Billing", "x_IsEstimated", "x_Model", "x_Quantity", "x_ServiceTier", "x_TokenClass", "x_Unit",
    "x_UnknownCostReason",
)  # fmt: skip
_SINCE_1_3 = frozenset({"HostProviderName", "ServiceProviderName"})
_SETTINGS = {
    "format_csv_null_representation": "",
    "date_time_output_format": "iso",
    "output_format_decimal_trailing_zeros": 1,  # readers that guess a column's type take whole numbers for integers
    "cancel_http_readonly_queries_on_client_close": 1,
}
_WITHHELD_BYTES = 64 << 10  # more than ClickHouse's message about a failure on the way, which ends the stream


class Tags(NamedTuple):
    """Metadata keys that become tags, and those left out.

    Too many values or too many keys leave one out.
    """

    chosen: list[str]
    omitted: list[str]


class Export(NamedTuple):
    """What to export."""

    since: datetime  # start of the billing period
    until: datetime  # its end, excluded
    timezone: str  # whose days are charge periods
    account: str = ""  # "" for all
    tags: Sequence[str] = ()  # metadata keys


def columns(version: str) -> tuple[str, ...]:
    """Return the columns of a version of FOCUS."""
    return tuple(name for name in (*_COLUMNS, *_OWN_COLUMNS) if version != "1.2" or name not in _SINCE_1_3)


async def tags(client: AsyncClient, export: Export) -> Tags:
    """Choose the metadata keys that become tags where none is named."""
    rows = await clickhouse.run_query(client, "focus_tags", most_values=MOST_VALUES, **_period(export))
    few = [row["key"] for row in rows if row["distinct_values"] <= MOST_VALUES]
    many = [row["key"] for row in rows if row["distinct_values"] > MOST_VALUES]
    return Tags(few[:MOST_TAGS], few[MOST_TAGS:] + many)


@contextlib.asynccontextmanager
async def stream(
    client: AsyncClient,
    export: Export,
    *,
    file_format: str = CSV,
    version: str = "1.2",
    known: Mapping[str, Provider] = providers.BUILT_IN,
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Stream the file in blocks; raises one of clickhouse.Failed, also on the way.

    What was yielded until then is the file's beginning, without ClickHouse's message. Who leaves early ends the query.
    `known`: providers with a title; all others go by their name.
    """
    titled = {name: provider.title for name, provider in known.items() if provider.title}
    parameters = _period(export) | {
        "tz": export.timezone,
        "tags": list(export.tags),
        "guard": file_format == CSV,
        "names": list(titled),
        "titles": list(titled.values()),
    }
    # Chosen by us, not by a user: names of columns cannot be parameters.
    statement = f"SELECT {', '.join(columns(version))} FROM ({clickhouse.text('focus')})"  # noqa: S608
    blocks = await client.raw_stream(statement, parameters=parameters, settings=_SETTINGS, fmt=_FORMATS[file_format])
    async with blocks as found:
        yield _without_message(found)


async def _without_message(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the stream with a delay, so that its end is dropped if it fails.

    ClickHouse reports a failure on the way within the data, and breaks the connection off after it.
    """
    withheld = bytearray()
    async for block in blocks:
        withheld += block
        if (ready := len(withheld) - _WITHHELD_BYTES) > 0:
            yield bytes(withheld[:ready])
            del withheld[:ready]
    if withheld:
        yield bytes(withheld)


def _period(export: Export) -> dict[str, Any]:
    return {"since": _timestamp(export.since), "until": _timestamp(export.until), "account": export.account}


def _timestamp(at: datetime) -> str:
    """Format a time as a parameter: the client drops microseconds."""
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"
