"""What new prices change is found, and a change that looks like a mistake stops them."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from shared.pricing import hand_cases
from shared.pricing.catalog import Catalog, Model
from shared.pricing.genai_prices import PROVIDERS, Library
from shared.pricing.table import Accepted, Table
from shared.pricing.update import candidate, differences, genai_release
from shared.pricing.update.differences import Difference
from shared.pricing.update.genai_release import Release

NOW = datetime(2026, 11, 28, tzinfo=UTC)
BASE: dict[str, Any] = {
    "id": "m",
    "match": {"or": [{"equals": "m"}, {"equals": "m-alias"}]},
    "prices": {"input_mtok": "1", "output_mtok": {"base": "4", "tiers": [{"start": 1000, "price": "8"}]}, "free": "0"},
    "price_variants": [{"when": {"processing": "batch"}, "prices": {"input_mtok": "0.5"}}],
}


def catalog(*models: dict[str, Any]) -> Catalog:
    lists = dict.fromkeys(PROVIDERS.values(), ())
    return Catalog("1.0", {**lists, "openai": tuple(msgspec.convert(model, Model) for model in models)})


def compare(*models: dict[str, Any], old: dict[str, Any] = BASE) -> list[Difference]:
    return differences.compare(Library(catalog(old), alone=True), Library(catalog(*models), alone=True))


def prices(**changes: Any) -> dict[str, Any]:
    return BASE | {"prices": BASE["prices"] | changes}


def test_equal_prices_written_differently_are_no_difference() -> None:
    dated = [{"prices": BASE["prices"]}, {"constraint": {"start_date": "2026-01-01"}, "prices": BASE["prices"]}]
    assert compare(BASE | {"prices": dated}) == []
    assert compare(prices(input_mtok="1.00")) == []


def test_each_change_is_one_difference_with_its_day_tier_and_threshold() -> None:
    later = [{"prices": BASE["prices"]}, {"constraint": {"start_date": "2026-12-01"}, "prices": BASE["prices"] | {"input_mtok": "2"}}]  # fmt: skip
    (change,) = compare(BASE | {"prices": later})
    assert change == Difference(
        "openai", "m", "changed price", date(2026, 12, 1), "", "input_mtok", 0, Decimal(1), Decimal(2)
    )
    change, batch = compare(prices(output_mtok={"base": "4", "tiers": [{"start": 1000, "price": "9"}]}))
    assert (change.unit, change.above, change.old, change.new) == ("output_mtok", 1000, 8, 9)
    assert batch == msgspec.structs.replace(change, tier="batch"), "a tier without a price of its own follows"
    (change,) = compare(BASE | {"price_variants": [{"when": {"processing": "batch"}, "prices": {"input_mtok": "0.4"}}]})
    assert (change.tier, change.old, change.new) == ("batch", Decimal("0.5"), Decimal("0.4"))
    new = compare(BASE, BASE | {"id": "n", "match": {"equals": "n"}, "price_variants": None})
    assert [change.change for change in new] == ["new model", *["new price"] * 4]


def test_a_name_that_means_another_model_is_a_difference_of_prices() -> None:
    split = BASE | {"match": {"equals": "m"}}
    other = BASE | {"id": "z", "match": {"equals": "m-alias"}, "prices": BASE["prices"] | {"input_mtok": "7"}}
    found = [change for change in compare(split, other) if change.model == "m-alias"]
    assert [(change.change, change.old, change.new) for change in found] == [("changed price", Decimal(1), Decimal(7))]
    assert [(change.model, change.change) for change in compare(split)][:1] == [("m-alias", "removed model")]


@pytest.mark.parametrize(
    ("models", "guards"),
    [
        ((), {"removed"}),
        ((BASE | {"match": {"equals": "m"}},), {"removed"}),
        ((BASE | {"price_variants": None},), {"removed"}),
        ((BASE | {"prices": {"output_mtok": "4"}, "price_variants": None},), {"removed"}),
        ((prices(free="0.01"),), {"zero"}),
        ((prices(input_mtok="0"),), {"zero"}),
        ((prices(input_mtok="10"),), set()),
        ((prices(input_mtok="10.01"),), {"factor"}),
        ((prices(input_mtok="0.09"),), {"factor"}),
        ((prices(output_mtok={"base": "4", "tiers": [{"start": 1000, "price": "81"}]}),), {"factor"}),
        ((prices(new="5"),), set()),
        ((BASE, BASE | {"id": "n", "match": {"equals": "n"}}), set()),
    ],
)
def test_changes_that_look_like_a_mistake_are_objected_to(
    models: tuple[dict[str, Any], ...], guards: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_cases, "load", lambda: ())
    found = candidate.propose(Release(catalog(*models), {}), catalog(BASE))
    assert {objection.guard for objection in found.objections} == guards
    assert not found.is_refused, "a person may accept all of these"


@pytest.fixture(scope="module")
def installed() -> Catalog:
    return genai_release.read(genai_release.installed()).catalog


Change = Callable[[Model], Model]


def changed(prices: Catalog, provider: str, change: Change) -> Catalog:
    lists = prices.price_lists | {provider: tuple(map(change, prices.price_lists[provider]))}
    return Catalog("9.9", lists)


def test_prices_that_break_a_hand_computed_case_are_refused_for_good(installed: Catalog) -> None:
    def dearer(model: Model) -> Model:
        if model.id != "gpt-4o" or not isinstance(model.prices, dict):
            return model
        return msgspec.structs.replace(model, prices=model.prices | {"input_mtok": Decimal(3)})

    found = candidate.propose(Release(changed(installed, "openai", dearer), {}), installed)
    assert found.is_refused
    assert {objection.guard for objection in found.objections} == {"hand case"}
    assert any("is 0.0035 USD, not 0.004" in objection.text for objection in found.objections)


def test_accepted_prices_go_over_the_built_in_ones_and_under_the_operators_file(installed: Catalog) -> None:
    def change(model: Model) -> Model:
        if not isinstance(model.prices, dict) or model.id not in ("gpt-4o-mini", "gpt-4.1"):
            return model
        return msgspec.structs.replace(model, prices=model.prices | {"input_mtok": Decimal(77)})

    without_nano = changed(installed, "openai", change)
    kept = tuple(model for model in without_nano.price_lists["openai"] if model.id != "gpt-4.1-nano")
    accepted = Accepted("3-abc", Catalog("9.9", without_nano.price_lists | {"openai": kept}))
    row = '[[price]]\nprovider = "openai"\nmodel = "gpt-4.1"\nunit = "input_mtok"\nprice = "5"\nsource = "contract"\n'
    table = Table.parse(row.encode(), accepted)

    def price(model: str) -> object:
        found = table.find("openai", model, at=NOW, context=("", ""))
        return found if isinstance(found, str) else found["input_mtok"]

    assert (price("gpt-4.1"), price("gpt-4o-mini"), price("gpt-4.1-nano")) == (5, 77, Decimal("0.1"))
    assert (table.library.release("openai", "gpt-4o-mini"), table.library.release("openai", "gpt-4.1-nano")) == (
        "9.9",
        "0.2.3",
    )
    versions = {Table.parse(text, given).version for text in (None, row.encode()) for given in (None, accepted)}
    assert len(versions) == 4 and sum(version.startswith("3-abc+") for version in versions) == 2


def test_prices_that_the_package_cannot_work_with_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError("got multiple values")

    monkeypatch.setattr(differences, "compare", broken)
    with pytest.raises(genai_release.UnreadableRelease, match="TypeError got multiple values"):
        candidate.propose(Release(catalog(BASE), {}), None)
