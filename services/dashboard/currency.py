"""Amounts in the viewer's currency, by the rates of METRION_CURRENCY_RATES."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from services.dashboard.charts import formats
from shared import decimals

SIGNS = {"USD": "$", "EUR": "€", "CHF": "CHF\N{NO-BREAK SPACE}"}
DOLLAR = Decimal(1)


def exact(value: Decimal | float) -> str:
    """Return an amount with every digit, without exponent and trailing zeros."""
    return decimals.exact(Decimal(str(value)))


class Currency(msgspec.Struct, frozen=True):
    """A currency and its rate against the US dollar, in which costs are stored."""

    code: str = "USD"
    rate: Decimal = DOLLAR

    @property
    def sign(self) -> str:
        """The prefix of an amount."""
        return SIGNS[self.code]

    def amount(self, dollars: Decimal | float | None) -> Decimal | None:
        """Convert an amount of dollars; None stays unknown."""
        return None if dollars is None else Decimal(str(dollars)) * self.rate

    def text(self, dollars: Decimal | float | None) -> str:
        """Format an amount of dollars: $1.23."""
        return formats.money(self.amount(dollars), self.sign)

    def text5(self, dollars: Decimal | float | None) -> str:
        """Format an amount of dollars with five decimals, for columns."""
        return formats.money5(self.amount(dollars), self.sign)


def parse_rates(pairs: Sequence[str]) -> Mapping[str, Currency]:
    """Return USD and the currencies of rates ("EUR=0.92"); may raise ValueError."""
    currencies = {"USD": Currency()}
    for pair in pairs:
        code, _, text = pair.partition("=")
        try:
            rate = Decimal(text)
        except InvalidOperation:
            rate = Decimal(0)
        if code not in SIGNS or code == "USD" or not rate.is_finite() or rate <= 0:
            raise ValueError(f"METRION_CURRENCY_RATES is wrong: {pair!r} is not a rate such as EUR=0.92 (EUR or CHF)")
        currencies[code] = Currency(code, rate)
    return currencies
