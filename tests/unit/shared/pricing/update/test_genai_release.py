"""A release of genai-prices is read as data: nothing in it is executed, and no input exhausts memory or stack."""

import json
import zipfile
from decimal import Decimal
from io import BytesIO

import pytest

from shared.pricing import catalog
from shared.pricing.genai_prices import Library
from shared.pricing.update import differences, genai_release
from shared.pricing.update.genai_release import UnreadableRelease
from tests.support import price_wheel

INSTALLED = price_wheel.data_module()
PRICE_LISTS = ("anthropic", "google", "mistral", "openai", "x-ai")
SMALL = "\n".join(
    ["import os", "providers: list[Provider] = ["]
    + [
        f"""    Provider(
        id='{name}',
        name='x',
        models=[ModelInfo(id='m', match=ClauseEquals(equals='m'), prices=ModelPrice(input_mtok=Decimal('1')))],
    ),"""
        for name in PRICE_LISTS
    ]
    + ["]"]
)


def read(source: str) -> genai_release.Release:
    return genai_release.read(price_wheel.wheel(source))


def test_the_installed_release_read_as_data_has_the_same_prices_as_the_package() -> None:
    release = read(INSTALLED)
    assert release.skipped == {} and release.catalog.release == "9.9.0"
    assert differences.compare(Library(), Library(release.catalog, alone=True)) == []
    packed, sha256 = catalog.pack(release.catalog)
    assert catalog.unpack(packed, sha256=sha256) == release.catalog and len(packed) < 100_000


def test_a_json_file_of_the_library_is_read_with_exact_prices() -> None:
    model = {
        "id": "m", "name": "M", "context_window": 1000, "match": {"or": [{"equals": "m"}, {"regex": "^m-\\d{8}$"}]},
        "prices": [{"prices": {"input_mtok": 0.1}}, {"constraint": {"start_date": "2026-01-01"}, "prices": {"input_mtok": 0.30}}],
        "price_variants": [{"when": {"processing": "batch"}, "prices": {"input_mtok": {"base": 1, "tiers": [{"start": 9, "price": 2.5}]}}}],
    }  # fmt: skip
    raw = [{"id": name, "models": [model], "extractors": [1]} for name in PRICE_LISTS]
    (found, *_) = genai_release.read(json.dumps(raw).encode()).catalog.price_lists["openai"]
    assert isinstance(found.prices, tuple) and found.prices[0].prices == {"input_mtok": Decimal("0.1")}
    assert found.price_variants and found.price_variants[0].prices["input_mtok"] == catalog.TieredPrice(
        Decimal(1), (catalog.Tier(9, Decimal("2.5")),)
    )


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("ModelInfo(id='new', match=ClauseEquals(equals='n'), prices=ModelPrice(a=Decimal('-1'))),", "from 0 to"),
        ("ModelInfo(id='new', match=ClauseEquals(equals='n'), prices=ModelPrice(a=Decimal('NaN'))),", "from 0 to"),
        ("ModelInfo(id='new', match=ClauseEquals(equals='n'), prices=ModelPrice(a=Decimal('1'))," " surcharge=2),", "surcharge"),
        ("ModelInfo(id='new', match=ClauseSounds(sounds_like='n'), prices=ModelPrice(a=Decimal('1'))),", "sounds_like"),
        ("ModelInfo(id='new', match=ClauseRegex(regex='(a+)+$'), prices=ModelPrice(a=Decimal('1'))),", "too much time"),
        *(
            (f"ModelInfo(id='new', match=ClauseRegex(regex={text!r}), prices=ModelPrice(a=Decimal('1'))),", "too much time")
            for text in ("^(?:a|a)+$", ".*.*.*x", "a?a?a?a?a?b", "(a)(?#x)*", "(?x)(a|a) *", r"(\\)a)*", "([)])+", "x" * 201)
        ),
        *(
            (f"ModelInfo(id='new', match=ClauseEquals(equals='n'), prices=ModelPrice({unit}=Decimal('1'))),", "unit")
            for unit in ("self", "__class__", "B")
        ),
        *(
            (f"ModelInfo(id='new', match=ClauseEquals(equals='n'), prices=ModelPrice(a=Decimal('{price}'))),", "12 decimals")
            for price in ("1e-999999", "0e999999", "0." + "1" * 5000)
        ),
        (
            f"ModelInfo(id='new', match={'ClauseOr(or_=[' * 9}ClauseEquals(equals='n'){'])' * 9},"
            " prices=ModelPrice(a=Decimal('1'))),",
            "nested more than 8",
        ),
        ("ModelInfo(id='new', match=ClauseRegex(regex='('), prices=ModelPrice(a=Decimal('1'))),", "invalid regular"),
        (
            "ModelInfo(id='new', match=ClauseEquals(equals='n'), prices=[ConditionalPrice(constraint=TimeOfDateConstraint("
            "start_time=datetime.time(0, 30, tzinfo=datetime.timezone.utc), end_time=datetime.time(16, 30)),"
            " prices=ModelPrice(a=Decimal('1')))]),",
            "start_time",
        ),
    ],
)  # fmt: skip
def test_a_model_whose_price_is_not_understood_is_left_out_with_the_reason(record: str, reason: str) -> None:
    release = read(price_wheel.with_model(SMALL, record))
    assert reason in release.skipped["openai/new"]
    assert [model.id for model in release.catalog.price_lists["openai"]] == ["m"]


@pytest.mark.parametrize(
    "source",
    [
        "providers = __import__('os').system('true')",
        "providers = [x for x in ()]",
        "providers = [Provider(id=open('/etc/passwd').read())]",
        "providers = [f'{1}']",
        "providers = b''",
        "providers = [1 + 1]",
        "providers = " + "[" * 100_000,
        "providers = " + "a(b=" * 100_000,
        "providers = [" + "-" * 100_000 + "1]",
        "providers = ['" + "x" * 100,
        "providers = [Decimal('x')]",
        "providers = [datetime.date(2026, 13, 1)]",
        "providers = [" + "9" * 10_000 + "]",
        "providers = [Provider(id='openai', id='openai')]",
        "nothing = []",
        "providers = []",
        SMALL.replace("id='x-ai'", "id='openai'"),
        SMALL.replace("equals='m'", "equals='m', equals='n'"),
    ],
    ids=range(18),
)
def test_anything_but_data_is_refused_in_one_line(source: str) -> None:
    with pytest.raises(UnreadableRelease) as raised:
        read(source)
    assert "\n" not in str(raised.value)


def test_a_wheel_that_is_not_an_ordinary_one_is_refused() -> None:
    good = price_wheel.wheel(SMALL)
    assert genai_release.read(good).catalog.price_lists.keys() == set(PRICE_LISTS)
    twice = BytesIO(good)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("genai_prices/data.py", "providers = []")
    link = zipfile.ZipInfo("genai_prices/link")
    link.external_attr = 0o120777 << 16
    linked = BytesIO(good)
    with zipfile.ZipFile(linked, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused = {
        "leads outside": price_wheel.wheel(SMALL, more={"../../etc/cron.d/x": b""}),
        "leads outside of": price_wheel.wheel(SMALL, more={"/etc/x": b""}),
        "larger than 8 MB": price_wheel.wheel(SMALL + "#" * (9 << 20)),  # 9 KB compressed
        "does not match": price_wheel.wheel(SMALL, record="A" * 43),
        "larger than field limit": price_wheel.wheel(SMALL, record="A" * 200_000),
        "RECORD cannot be read": price_wheel.wheel(SMALL, record="A\rB"),
        "not one of": price_wheel.wheel(SMALL, name="requests"),
        "same name": twice.getvalue(),
        "symbolic link": linked.getvalue(),
        "more than 1,000": price_wheel.wheel(SMALL, more={f"x/{number}": b"" for number in range(1000)}),
        "damaged": good[: len(good) // 2],
        "not a usable release": b"",
    }
    for reason, data in refused.items():
        with pytest.raises(UnreadableRelease, match=reason):
            genai_release.read(data)


def test_a_file_that_lies_about_its_size_is_cut_off() -> None:
    bomb = bytearray(price_wheel.wheel(SMALL + "#" * (9 << 20)))
    with zipfile.ZipFile(BytesIO(bomb)) as archive:
        size = archive.getinfo("genai_prices/data.py").file_size
    stated = size.to_bytes(4, "little")
    assert bomb.count(stated) == 2  # in the file's own header and in the directory
    with pytest.raises(UnreadableRelease):
        genai_release.read(bytes(bomb.replace(stated, (100).to_bytes(4, "little"))))
