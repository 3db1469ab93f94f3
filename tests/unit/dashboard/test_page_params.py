"""The dashboard's view of an address: periods by the viewer's clock, links that keep everything else, clear refusals."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from services.dashboard import page_params, periods
from services.dashboard.periods import BadParameter

NOW = datetime(2026, 11, 24, 10, 7, 42, tzinfo=UTC)
ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
NEW_YORK = ZoneInfo("America/New_York")
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


def parse(query: dict[str, str], *, now: datetime = NOW, **more: str) -> page_params.View:
    return page_params.parse("/", query, now=now, **more)


def again(url: str, *, now: datetime = NOW) -> page_params.View:
    parts = urlsplit(url)
    return page_params.parse(parts.path, MultiDict(parse_qsl(parts.query)), now=now)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "provider": names,
            "model": names,
            "requester": names,
            "token": names,
            "client": names,
            "agent": names,
            "session": names,
            "connection": names,
            "billing": st.sampled_from(["usage", "subscription"]),
            "source": st.sampled_from(["gateway", "imported"]),
            "meta": st.tuples(names.filter(lambda name: "=" not in name), names).map("=".join),
            "min_cost": st.sampled_from(["0.05", "12"]),
            "min_tokens": st.sampled_from(["1", "500000"]),
            "min_latency": st.sampled_from(["0.0001", "2.5"]),
            "status": st.sampled_from(["ok", "2xx", "4xx", "5xx", "interrupted", "429"]),
            "cache": st.sampled_from(["yes", "no"]),
            "cost": st.sampled_from(["unknown", "estimated"]),
            "tz": st.sampled_from(ZONES),
            "compare": st.sampled_from(["previous", "week", "none"]),
            "period": st.sampled_from([*periods.PERIODS, *periods.CALENDAR]),
        },
    )
)
def test_a_shared_link_shows_what_its_sender_saw(query: dict[str, str]) -> None:
    shown = parse(query)
    assert again(shown.url()) == shown


@given(names, names)
def test_a_link_to_one_requester_changes_nothing_else_whatever_the_name_holds(requester: str, model: str) -> None:
    shown = again(parse({"model": model, "period": "7d", "page": "3"}).only("requester", requester, "/logs"))
    assert shown.filters == {"model": model, "requester": requester}
    assert (shown.path, shown.period.name, shown.query.get("page")) == ("/logs", "7d", None)


def test_a_sort_order_stays_on_its_page_and_what_belongs_to_it() -> None:
    shown = page_params.parse("/logs", {"sort": "tokens", "model": "m"}, now=NOW)
    assert shown.url("/logs/1") == "/logs/1?sort=tokens&model=m"
    assert shown.url("/requesters") == "/requesters?model=m"
    assert shown.url("/requesters", sort="hits") == "/requesters?model=m&sort=hits"


def test_requests_without_a_requester_can_be_selected() -> None:
    shown = again(parse({"model": "m"}).only("requester", ""))
    assert shown.filters == {"model": "m", "requester": ""}
    assert shown.parameters()["any_requester"] == 0
    assert again(shown.only("requester", "ann")).filters == {"model": "m", "requester": "ann"}
    assert again(shown.cleared()).filters == {}


@given(moments, st.sampled_from(ZONES), st.sampled_from(list(periods.PERIODS)))
def test_buckets_cover_the_period_and_align_with_quarter_hours(now: datetime, zone: str, name: str) -> None:
    period = parse({"period": name, "tz": zone}, now=now).period
    starts = period.buckets()
    assert starts[0] == period.since and period.since < now <= period.until
    assert all(at.timestamp() % 900 == 0 for at in (*starts, period.until))
    for at, following in zip(starts, [*starts[1:], period.until], strict=True):
        if period.daily:
            assert (at.astimezone(period.tz).hour, at.astimezone(period.tz).minute) == (0, 0) or zone == "Pacific/Apia"
            assert timedelta(hours=22) < following - at < timedelta(hours=26)
        else:
            assert following - at == timedelta(seconds=period.step)


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-11-01", 25), ("2026-03-08", 23), ("2026-07-01", 24)], ids=["back", "forward", "plain"]
)
def test_a_day_on_which_the_clocks_change_is_one_bucket(day: str, hours: int) -> None:
    at = datetime.fromisoformat(day)
    query = {
        "from": (at - timedelta(days=3)).isoformat(),
        "to": (at + timedelta(days=4)).isoformat(),
        "tz": NEW_YORK.key,
    }
    starts = parse(query).period.buckets()
    assert len(starts) == 7
    assert starts[4] - starts[3] == timedelta(hours=hours)


def test_a_period_up_to_now_is_compared_with_as_much_of_the_one_before() -> None:
    shown = parse({"period": "24h"})
    passed = shown.period.passed()
    before = shown.earlier(passed)
    assert (shown.since, shown.until) == (
        datetime(2026, 11, 23, 11, tzinfo=UTC),
        datetime(2026, 11, 24, 11, tzinfo=UTC),
    )
    assert passed.until == NOW
    assert before and before.until - before.since == passed.until - passed.since
    assert before.until == NOW - timedelta(days=1)


def test_days_are_compared_with_days_of_the_same_clock() -> None:
    shown = parse({"from": "2026-10-31", "to": "2026-11-03", "tz": NEW_YORK.key})  # with the day of 25 hours
    before = shown.earlier(shown.period)
    assert before and before.until == shown.since
    assert before.since.astimezone(NEW_YORK).isoformat() == "2026-10-28T00:00:00-04:00"


def test_a_week_before_is_the_same_day_and_time() -> None:
    shown = parse({"from": "2026-11-02T08:00", "to": "2026-11-02T12:00", "tz": NEW_YORK.key, "compare": "week"})
    before = shown.earlier(shown.period)
    assert before and before.since.astimezone(NEW_YORK).isoformat() == "2026-10-26T08:00:00-04:00"
    assert parse({"compare": "none"}).earlier(shown.period) is None


@pytest.mark.parametrize(
    ("period", "since", "until", "before"),
    [
        ("today", "2026-11-24T00:00", "2026-11-24T06:00", ("2026-11-23T00:00", "2026-11-23T05:20")),
        ("yesterday", "2026-11-23T00:00", "2026-11-24T00:00", ("2026-11-22T00:00", "2026-11-23T00:00")),
        ("week", "2026-11-23T00:00", "2026-11-25T00:00", ("2026-11-16T00:00", "2026-11-17T05:20")),
        ("month", "2026-11-01T00:00", "2026-11-25T00:00", ("2026-10-01T00:00", "2026-10-24T05:20")),
        ("last-month", "2026-10-01T00:00", "2026-11-01T00:00", ("2026-09-01T00:00", "2026-10-01T00:00")),
    ],
)
def test_calendar_period_is_compared_with_the_same_part_of_the_one_before(
    period: str, since: str, until: str, before: tuple[str, str]
) -> None:
    def local(at: datetime) -> str:
        return f"{at.astimezone(NEW_YORK):%Y-%m-%dT%H:%M}"

    shown = parse({"period": period, "tz": NEW_YORK.key}, now=datetime(2026, 11, 24, 10, 20, tzinfo=UTC))
    earlier = shown.earlier(shown.period.passed())
    assert (local(shown.since), local(shown.until)) == (since, until)
    assert earlier and (local(earlier.since), local(earlier.until)) == before


def test_month_is_compared_with_a_shorter_one_up_to_its_end() -> None:
    shown = parse({"period": "month"}, now=datetime(2026, 3, 31, 12, tzinfo=UTC))
    before = shown.earlier(shown.period.passed())
    assert before and (before.since, before.until) == (
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    )


@given(moments, st.sampled_from(ZONES), st.sampled_from(list(periods.CALENDAR)))
def test_calendar_periods_have_buckets_and_something_to_compare(now: datetime, zone: str, name: str) -> None:
    shown = parse({"period": name, "tz": zone}, now=now)
    starts = shown.period.buckets()
    assert starts[0] == shown.since < shown.until
    assert len(starts) <= 32
    before = shown.earlier(shown.period)
    assert before and before.since < before.until <= shown.since


@pytest.mark.parametrize(
    ("start", "end", "since", "until", "starts"),
    [
        ("2026-11-23T09:10", "2026-11-24T17:20", "23T09:00", "24T17:30", ["23T09:00", "24T00:00"]),
        ("2026-11-23T09:10", "2026-11-23T09:20", "23T09:00", "23T09:30", ["23T09:00", "23T09:15"]),
        ("2026-11-23T09:00", "2026-11-23T16:00", "23T09:00", "23T16:00", [f"23T{hour:02}:00" for hour in range(9, 16)]),
        ("2026-11-22", "2026-11-24", "22T00:00", "24T00:00", ["22T00:00", "23T00:00"]),
    ],
)
def test_custom_period_is_widened_to_quarter_hours_and_no_further(
    start: str, end: str, since: str, until: str, starts: list[str]
) -> None:
    def short(at: datetime) -> str:
        return f"{at:%dT%H:%M}"

    shown = parse({"from": start, "to": end})
    assert (short(shown.since), short(shown.until)) == (since, until)
    assert [short(at) for at in shown.period.buckets()] == starts


def test_custom_period_of_part_days_is_compared_with_the_same_length_before() -> None:
    shown = parse({"from": "2026-11-21T09:15", "to": "2026-11-23T17:30"})
    before = shown.earlier(shown.period)
    assert before and before.until == shown.since
    assert before.until - before.since == shown.until - shown.since


@pytest.mark.parametrize(
    "query",
    [
        {"period": "3x"},
        {"tz": "Mars/Olympus"},
        {"tz": "../etc/passwd"},
        {"status": "6"},
        {"status": "²²²"},
        {"cache": "maybe"},
        {"cost": "much"},
        {"meta": "=x"},
        {"billing": "free"},
        {"source": "thin air"},
        {"without": "status"},
        {"compare": "moon"},
        {"currency": "EUR"},
        {"from": "tomorrow"},
        {"from": "2026-11-02", "to": "2026-11-01"},
        {"from": "2020-01-01", "to": "2026-11-01"},
        {"from": "9" * 30},
        {"from": "0001-01-01T00:00:00+14:00"},
        {"requester": "x" * 601},
    ],
    ids=str,
)
def test_an_invalid_url_is_refused_with_an_explanation(query: dict[str, str]) -> None:
    with pytest.raises(BadParameter, match=r"\w+ \w+"):
        parse(query)


def test_a_user_of_one_account_sees_no_other() -> None:
    assert parse({}, account="a").account == "a"
    assert parse({"account": "a"}, account="a").parameters()["account"] == "a"
    with pytest.raises(BadParameter, match="don't have access"):
        parse({"account": "b"}, account="a")


def test_a_long_period_has_no_more_buckets_than_a_plot_can_show() -> None:
    assert len(parse({"from": "2024-01-01", "to": "2026-11-01"}).period.buckets()) <= 110


def test_filter_can_exclude_what_it_names_until_another_value_is_chosen() -> None:
    shown = again(parse({"model": "m", "requester": "r", "exclude": "model,token"}).url())
    assert shown.excluded == {"model"} and shown.query["exclude"] == "model", "there is no filter by token"
    assert (shown.parameters()["not_model"], shown.parameters()["not_requester"]) == (1, 0)
    assert again(shown.excluding("model")).excluded == set()
    assert again(shown.excluding("requester")).excluded == {"model", "requester"}
    assert again(shown.only("model", "other")).excluded == set()
    assert again(shown.only("requester", "other")).excluded == {"model"}
    assert again(shown.cleared()).query.get("exclude") is None
    assert shown.has_requester and not again(shown.excluding("requester")).has_requester
    with pytest.raises(BadParameter, match="Invalid exclude"):
        parse({"exclude": "status"})


@given(st.lists(names, min_size=2, max_size=5, unique=True), names)
def test_filter_has_several_values_in_every_link_until_another_is_chosen(models: list[str], requester: str) -> None:
    shown = page_params.parse("/", MultiDict([("requester", requester), *(("model", one) for one in models)]), now=NOW)
    assert shown.values("model") == tuple(models) and shown.values("requester") == (requester,)
    assert (shown.parameters()["model"], shown.parameters()["any_model"]) == (models, 0)
    assert again(shown.url("/logs")).values("model") == tuple(models)
    assert [value for name, value in shown.hidden("requester") if name == "model"] == models
    assert ("model", models[1]) not in shown.hidden("model")
    assert set(again(shown.without_value("model", models[0])).values("model")) == set(models[1:])
    assert again(shown.without_value("model", models[-1])).values("model") == tuple(models[:-1])
    assert again(shown.excluding("model")).excluded == {"model"}
    assert again(shown.only("model", "m")).values("model") == ("m",)
    assert again(shown.only("model", "")).values("model") == ("",), "requests without a model, and no others"
    assert again(shown.cleared()).filters == {}


def test_several_values_are_bounded_and_each_is_checked() -> None:
    for query in ([("outcome", "complete"), ("outcome", "lost")], [("model", "m"), ("model", "x" * 601)]):
        with pytest.raises(BadParameter):
            page_params.parse("/", MultiDict(query), now=NOW)
    with pytest.raises(BadParameter, match="more than 50 values"):
        page_params.parse("/", MultiDict([("model", str(number)) for number in range(51)]), now=NOW)
    several = page_params.parse("/", MultiDict([("requester", "ann"), ("requester", "bob")]), now=NOW)
    assert not several.has_requester
    single = page_params.parse("/", MultiDict([("status", "4xx"), ("status", "5xx")]), now=NOW)
    assert single.values("status") == ("5xx",)
