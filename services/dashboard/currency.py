"""The setting METRION_CURRENCY_RATES goes in; amounts in the viewer's currency, as text, come out."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from services.dashboard.charts import formats

SIGNS = {"USD": "$", "EUR": "€", "CHF": "CHF\N{NO-BREAK SPACE}"}
DOLLAR = Decimal(1)


class Currency(msgspec.Struct, frozen=True):
    """A currency and what a dollar is in it: books are kept in USD."""

    code: str = "USD"
    rate: Decimal = DOLLAR

    @property
    def sign(self) -> str:
        """What stands before an amount."""
        return SIGNS[self.code]

    def amount(self, dollars: Decimal | float | None) -> Decimal | None:
        """The amount in this currency; None stays unknown."""
        return None if dollars is None else Decimal(str(dollars)) * self.rate

    def text(self, dollars: Decimal | float | None) -> str:
        """Short: $1.23."""
        return formats.money(self.amount(dollars), self.sign)

    def text5(self, dollars: Decimal | float | None) -> str:
        """With five decimals, so that a column reads."""
        return formats.money5(self.amount(dollars), self.sign)


def rates(pairs: Sequence[str]) -> Mapping[str, Currency]:
    """What is offered: USD, and each currency of which a rate is given ("EUR=0.92"); ValueError for what is none."""
    found = {"USD": Currency()}
    for pair in pairs:
        code, _, text = pair.partition("=")
        try:
            rate = Decimal(text)
        except InvalidOperation:
            rate = Decimal(0)
        if code not in SIGNS or code == "USD" or not rate.is_finite() or rate <= 0:
            raise ValueError(f"METRION_CURRENCY_RATES is wrong: {pair!r} is not a rate such as EUR=0.92 (EUR or CHF)")
        found[code] = Currency(code, rate)
    return found
