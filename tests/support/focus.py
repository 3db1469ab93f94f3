"""Reads FOCUS files, and what FOCUS 1.2 requires of them."""

import csv
import io
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

Row = dict[str, str]

NEVER_NULL = (
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
    "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost",
    "InvoiceIssuerName", "ListCost", "PricingCurrency", "ProviderName", "PublisherName", "ServiceCategory",
    "ServiceName", "ServiceSubcategory",
)  # fmt: skip
OF_USAGE = (
    "ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "PricingCategory", "PricingQuantity",
    "PricingUnit", "SkuId", "SkuMeter", "SkuPriceId",
)  # fmt: skip
TIMES = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")


def read(data: bytes | str) -> list[Row]:
    """Rows of a CSV file."""
    text = data.decode() if isinstance(data, bytes) else data
    return list(csv.DictReader(io.StringIO(text, newline="")))


def total(rows: Iterable[Row], column: str = "BilledCost", **where: str) -> Decimal:
    """Sum of a column over the rows that have these values."""
    wanted = where.items()
    return sum((Decimal(row[column]) for row in rows if all(row[name] == value for name, value in wanted)), Decimal(0))


def check(row: Row) -> None:
    """Assert what FOCUS 1.2 requires of a row by itself."""
    about: dict[str, Any] = {"row": {name: value for name, value in row.items() if value}}
    assert [name for name in NEVER_NULL if not row[name]] == [], about
    assert all(_TIME.fullmatch(row[name]) for name in TIMES), about
    assert row["ChargePeriodStart"] < row["ChargePeriodEnd"], about
    assert row["BillingPeriodStart"] <= row["ChargePeriodStart"], about
    assert row["ChargePeriodEnd"] <= row["BillingPeriodEnd"], about
    assert row["ChargeCategory"] in ("Usage", "Adjustment"), about
    assert row["ChargeClass"] == "" and row["InvoiceId"] == "", about
    is_usage = row["ChargeCategory"] == "Usage"
    assert {bool(row[name]) for name in OF_USAGE} == {is_usage}, about
    assert bool(row["SubAccountId"]) == bool(row["SubAccountName"]) == bool(row["SubAccountType"]), about
    if is_usage:
        quantity = Decimal(row["PricingQuantity"])
        for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
            assert abs(Decimal(row[price]) * quantity - Decimal(row[cost])) < Decimal("1e-9"), about
    elif row["x_TokenClass"] == "difference":
        assert len({Decimal(row[cost]) for cost in _COSTS}) == 1, about
        assert Decimal(row["BilledCost"]) != 0 and not row["x_UnknownCostReason"], about
        assert not any(
            row[name]
            for name in ("SubAccountId", "ResourceId", "ResourceName", "x_Model", "x_Quantity", "x_Unit", "Tags")
        ), about
    else:
        assert {Decimal(row[cost]) for cost in _COSTS} == {Decimal(0)}, about
        assert row["x_UnknownCostReason"] and "cost unknown" in row["ChargeDescription"], about
