"""`python -m services.cli` as a person runs it, against a real nats-server and a real ClickHouse."""

import csv
import io
import json
import os
import re
import secrets
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.logger import schema
from shared import clickhouse as clickhouse_client
from tests.support import cli, ports, servers

Server = servers.Server | servers.External
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command line; `nats` and `clickhouse` are URLs."""

    def running(*arguments: str, nats: str = "", clickhouse: str = "") -> subprocess.CompletedProcess[str]:
        return cli.run(*arguments, env=environment(tmp_path, nats=nats, clickhouse=clickhouse))

    return running


def environment(directory: Path, *, nats: str = "", clickhouse: str = "") -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    return {
        **kept,
        "METRION_DATA_DIR": str(directory),
        "METRION_NATS_URL": nats,
        "METRION_CLICKHOUSE_URL": clickhouse,
    }


def unique(word: str) -> str:
    return f"{word}-{secrets.token_hex(4)}"


@pytest.fixture
async def bucket(nats: Server) -> str:
    """The address of a NATS that has an accounts bucket."""
    await servers.provision(nats)
    return nats.url("admin")


async def test_a_token_is_shown_once_and_listed_without_itself(run: Run, bucket: str) -> None:
    account = unique("team")
    assert run("account", "create", account, nats=bucket).returncode == 0
    made = run("token", "create", "--account", account, "--name", "ci", "--expires", "30d", "--provider", "xai",
               "--model", "grok-*", "--requester", "bot", "--allow", "files", "--allow", "batches", nats=bucket)  # fmt: skip
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert re.fullmatch(r"sk-metrion-[0-9a-f]{32}", token)
    listed = run("token", "list", "--account", account, "--json", nats=bucket)
    (row,) = json.loads(listed.stdout)
    assert token not in listed.stdout and row["hint"] == token[-4:]
    assert (row["name"], row["account"], row["state"], row["providers"]) == ("ci", account, "active", ["grok"])
    assert row["allow"] == ["files", "batches"]
    assert run("token", "create", "--name", "x", "--allow", "everything", nats=bucket).returncode == 2
    expires = datetime.fromisoformat(row["expires"])
    assert timedelta(days=29) < expires - datetime.now(UTC) < timedelta(days=31)
    table = run("token", "list", nats=bucket).stdout
    assert account in table and "active" in table and token not in table


async def test_revoking_and_regenerating_show_in_the_list(run: Run, bucket: str) -> None:
    account = unique("team")
    run("account", "create", account, nats=bucket)
    chosen = ("--account", account, "--name", "ci")
    first = json.loads(run("token", "create", *chosen, "--json", nats=bucket).stdout)["token"]
    second = run("token", "regenerate", *chosen, nats=bucket).stdout.strip()
    assert first != second

    def states() -> list[tuple[str, str]]:
        rows = json.loads(run("token", "list", "--account", account, "--json", nats=bucket).stdout)
        return [(row["hint"], row["state"]) for row in rows]

    assert states() == [(first[-4:], "revoked"), (second[-4:], "active")]
    assert run("token", "revoke", *chosen, nats=bucket).returncode == 0
    assert [state for _, state in states()] == ["revoked", "revoked"]
    again = run("token", "revoke", *chosen, nats=bucket)
    assert again.returncode == 1 and "no active token" in again.stderr
    run("token", "create", *chosen, nats=bucket)
    shut = run("account", "revoke", account, nats=bucket)
    assert shut.returncode == 0 and "1 token of" in shut.stderr
    accounts = json.loads(run("account", "list", "--json", nats=bucket).stdout)
    assert [row["active_tokens"] for row in accounts if row["name"] == account] == [0]


async def test_an_agent_is_set_up_with_a_new_token_of_its_person(bucket: str, tmp_path: Path) -> None:
    name = unique("ann-codex")
    command = ("agent", "setup", "codex", "--create-token", "--name", name, "--requester", "ann@example.com")
    chosen = environment(tmp_path, nats=bucket) | {"HOME": str(tmp_path), "CODEX_HOME": ""}
    assert "Nothing was written" in cli.run(*command, "--dry-run", env=chosen).stderr
    done = cli.run(*command, "--yes", env=chosen)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / ".codex/.env").read_text()
    assert cli.run(*command, "--yes", env=chosen).stderr == "Nothing to change.\n", "the token is kept"
    assert (tmp_path / ".codex/.env").read_text() == text
    printed = cli.run(*command[:-3], f"{name}-2", *command[-2:], "--print", env=chosen)
    assert printed.returncode == 0, printed.stderr
    rows = {row["name"]: row for row in json.loads(cli.run("token", "list", "--json", env=chosen).stdout)}
    for shown, created in ((text, name), (printed.stdout, f"{name}-2")):
        (token,) = set(re.findall(r"sk-metrion-[0-9a-f]{32}", shown))
        assert rows[created]["hint"] == token[-4:]
        assert rows[created]["requester"] == "ann@example.com"
    assert cli.run(*command, "--yes", env=chosen | {"HOME": str(tmp_path / "other")}).returncode == 1, "name is taken"
    assert not (tmp_path / "other/.codex").exists()


async def test_the_default_account_needs_no_creation(run: Run, bucket: str) -> None:
    made = run("token", "create", "--name", unique("app"), nats=bucket)
    assert made.returncode == 0, made.stderr


async def test_invalid_commands_print_one_line_with_the_remedy(run: Run, bucket: str) -> None:
    for arguments, message in (
        (("account", "create", "No Such"), "a-z"),
        (("token", "create", "--name", "a", "--account", "absent"), "metrion account create absent"),
        (("token", "create", "--name", unique("a"), "--provider", "antropic"), "known are anthropic"),
        (("token", "create", "--name", unique("a"), "--expires", "2020-01-01"), "must be in the future"),
    ):
        failed = run(*arguments, nats=bucket)
        assert failed.returncode == 1 and message in failed.stderr
        assert failed.stderr.count("\n") == 1 and failed.stdout == ""


async def test_addresses_are_read_from_the_file_that_make_run_writes(run: Run, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "cli.env").write_text(f"METRION_NATS_URL={bucket}\n")
    assert run("account", "list").returncode == 0


def test_a_service_that_is_down_is_one_line_without_a_password(run: Run) -> None:
    port = ports.free_port()
    for arguments in (("token", "list"), ("report",), ("completeness",), ("prices", "check")):
        failed = run(
            *arguments, nats=f"nats://u:geheim@127.0.0.1:{port}", clickhouse=f"http://u:geheim@127.0.0.1:{port}"
        )
        assert failed.returncode == 2
        assert f"127.0.0.1:{port} does not respond" in failed.stderr and failed.stderr.count("\n") == 1
        assert "geheim" not in failed.stderr + failed.stdout
    unset = run("token", "list")
    assert unset.returncode == 2 and "METRION_NATS_URL" in unset.stderr


def test_a_wrong_password_is_one_line_without_it(run: Run, tmp_path: Path) -> None:
    with servers.nats_server(tmp_path / "nats") as server:
        failed = run("token", "list", nats=f"nats://admin:geheim@127.0.0.1:{server.port}")
    assert failed.returncode == 2 and "rejected" in failed.stderr
    assert failed.stderr.count("\n") == 1 and "geheim" not in failed.stderr


async def test_closed_output_pipe_is_not_an_error(run: Run, bucket: str, tmp_path: Path) -> None:
    run("account", "create", unique("team"), nats=bucket)  # something to list
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "account", "list"],
            cwd=servers.ROOT,
            env=environment(tmp_path, nats=bucket),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=servers.DEADLINE,
        )
    finally:
        os.close(writing)
    assert done.stderr == ""


COLUMNS = (
    "id", "account", "token", "requester", "provider", "model_requested", "model", "started_at", "status", "outcome",
    "error_type", "latency_ms", "input_tokens", "output_tokens", "cost", "cost_reason",
    "usage_source", "version", "client", "agent", "session", "metadata",
)  # fmt: skip


def row(account: str, requester: str, at: datetime, cost: str | None, **fields: Any) -> tuple[Any, ...]:
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "account": account,
        "token": "app",
        "requester": requester,
        "provider": "openai",
        "model_requested": "gpt-5",
        "model": "gpt-5",
        "started_at": at,
        "status": 200,
        "outcome": "complete",
        "error_type": "",
        "latency_ms": 100,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost": None if cost is None else Decimal(cost),
        "cost_reason": "" if cost else "no_price",
        "usage_source": "reported",
        "version": 2,
        "client": "",
        "agent": "",
        "session": "",
        "metadata": {},
    }
    values.update(fields)
    return tuple(values[column] for column in COLUMNS)


@pytest.fixture
async def sample_account(database: Server) -> tuple[str, str]:
    """ClickHouse's address and an account with seven known requests around the end of summer time in Zurich."""
    account = unique("sample")
    night = datetime(2026, 10, 25, 22, 30, tzinfo=UTC)  # 23:30 in Zurich, which left summer time that morning
    twice = uuid.uuid4()
    rows = [
        row(account, "ann", night, "0.100000000001", latency_ms=100),
        row(
            account,
            "ann",
            night + timedelta(hours=1),
            "0.2",
            latency_ms=300,
            provider="anthropic",
            model="claude",
            metadata={"project": "shop"},
        ),
        row(account, "ann", night, None, id=twice, outcome="interrupted", version=1, latency_ms=0, input_tokens=None),
        row(account, "ann", night, "0.4", id=twice),
        row(
            account,
            "=cmd",
            night,
            None,
            model="mystery",
            token="other",
            client="claude-cli",
            agent="cli",
            session="0e1fb1a2",
        ),
        row(
            account,
            "=cmd",
            night,
            "0",
            outcome="interrupted",
            status=0,
            latency_ms=0,
            input_tokens=None,
            output_tokens=None,
        ),
        row(account, "", night, "0", status=429, error_type="rate_limit", model="", input_tokens=0, output_tokens=0),
        row(
            account,
            "eve",
            night - timedelta(hours=24),
            "1",
            status=499,
            outcome="client_closed",
            usage_source="estimated",
        ),
    ]
    client = await clickhouse_client.connect(database.url("logger"), service="test")
    await client.insert("metrion.response_events", rows, column_names=COLUMNS)
    await client.close()
    return database.url("logger"), account


async def test_models_without_a_price_are_named_with_their_reason(run: Run, sample_account: tuple[str, str]) -> None:
    url, account = sample_account
    name, when = unique("model"), datetime.now(UTC) - timedelta(hours=1)
    unknown = {"model": name, "cost_reason": "unknown_model"}
    rows = [
        row(account, "ann", when, None, **unknown),
        row(account, "bob", when + timedelta(minutes=1), None, **unknown, input_tokens=None),
        row(account, "ann", when, None, model="", model_requested=name, cost_reason="unpriced_unit:input_mchars"),
        row(account, "ann", when, None, model=name, cost_reason="broken_stream"),
        row(account, "ann", when, "0.1", model=name),
        row(account, "ann", when - timedelta(days=8), None, **unknown),
    ]
    client = await clickhouse_client.connect(url, service="test")
    await client.insert("metrion.response_events", rows, column_names=COLUMNS)
    await client.close()
    checked = run("prices", "check", "--json", clickhouse=url)
    assert checked.returncode == 1, checked.stderr
    output = json.loads(checked.stdout)
    found = {one["reason"]: one for one in output["without_price"] if one["model"] == name}
    assert set(found) == {"unknown_model", "unpriced_unit:input_mchars"}
    assert [found["unknown_model"][key] for key in ("provider", "requests", "input", "output")] == ["openai", 2, 10, 10]
    assert output["other_reasons"]["broken_stream"] >= 1
    table = run("prices", "check", "--since", "2d", clickhouse=url)
    assert table.returncode == 1 and name in table.stdout
    assert "METRION_PRICES_FILE" in table.stderr and "broken_stream" in table.stderr


def test_prices_check_says_so_when_every_model_has_a_price(run: Run, sample_account: tuple[str, str]) -> None:
    done = run("prices", "check", "--since", "2090-01-01", clickhouse=sample_account[0])
    assert (done.returncode, done.stdout) == (0, "")
    assert "All models have a price." in done.stderr


async def reported(run: Run, sample_account: tuple[str, str], *arguments: str) -> dict[str, Any]:
    url, account = sample_account
    period = () if "--since" in arguments else ("--since", "2026-10-01", "--until", "2026-10-31")
    done = run("report", *period, "--account", account, "--json", *arguments, clickhouse=url)
    assert done.returncode == 0, done.stderr
    output: dict[str, Any] = json.loads(done.stdout)
    return output


async def test_a_report_adds_money_exactly_and_says_what_has_no_price(
    run: Run, sample_account: tuple[str, str]
) -> None:
    output = await reported(run, sample_account)
    rows = {row.pop("requester"): row for row in output["rows"]}
    assert list(rows) == ["eve", "ann", "", "=cmd"] or list(rows) == ["eve", "ann", "=cmd", ""], "dearest first"
    assert rows["ann"] == {
        "requests": 3,
        "errors": 0,
        "input_tokens": 30,
        "output_tokens": 15,
        "cost_usd": "0.700000000001",
        "unpriced_requests": 0,
        "estimated_requests": 0,
        "estimated_usd": "0",
        "avg_latency_ms": pytest.approx(500 / 3),
        "cache_hits": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "saved_usd": "0",
        "api_equivalent_usd": "0",
    }
    assert rows["=cmd"]["errors"] == 1 and rows["=cmd"]["unpriced_requests"] == 1
    assert rows["=cmd"]["avg_latency_ms"] == 100, "an interrupted request has no latency"
    assert rows[""]["errors"] == 1 and rows["eve"]["errors"] == 0
    total = output["total"]
    assert (total["requests"], total["errors"], total["cost_usd"]) == (7, 2, "1.700000000001")
    assert total["unpriced_requests"] == 1
    for one in (rows["eve"], total):
        assert (one["estimated_requests"], one["estimated_usd"]) == (1, "1"), "how much of the sum is a guess"


async def test_report_totals_include_rows_beyond_the_limit(run: Run, sample_account: tuple[str, str]) -> None:
    output = await reported(run, sample_account, "--limit", "1")
    assert len(output["rows"]) == 1 and output["groups"] == 4
    assert output["total"]["requests"] == 7
    url, account = sample_account
    shown = run("report", "--since", "2026-10-01", "--account", account, "--limit", "1", clickhouse=url)
    assert "1 of 4 rows shown" in shown.stderr and "$1.70" in shown.stdout
    assert output["total"]["cost_usd"] == "1.700000000001"


async def test_a_day_is_the_day_of_the_zone_asked_for(run: Run, sample_account: tuple[str, str]) -> None:
    def days(answer: dict[str, Any]) -> dict[str, int]:
        return {row["day"]: row["requests"] for row in answer["rows"]}

    zurich = await reported(run, sample_account, "--by", "day", "--tz", "Europe/Zurich")
    assert days(zurich) == {"2026-10-25": 6, "2026-10-26": 1}, "the 24th's request fell on 00:30 of the long Sunday"
    utc = await reported(run, sample_account, "--by", "day")
    assert days(utc) == {"2026-10-24": 1, "2026-10-25": 6}
    kathmandu = await reported(run, sample_account, "--by", "day", "--tz", "Asia/Kathmandu")
    assert days(kathmandu) == {"2026-10-25": 1, "2026-10-26": 6}
    one = ("--since", "2026-10-25", "--until", "2026-10-25", "--tz", "Europe/Zurich", "--by", "day")
    assert days(await reported(run, sample_account, *one)) == {"2026-10-25": 6}


async def test_report_groups_by_model_provider_and_token(run: Run, sample_account: tuple[str, str]) -> None:
    models = await reported(run, sample_account, "--by", "model")
    assert {row["model"]: row["requests"] for row in models["rows"]} == {"gpt-5": 5, "claude": 1, "mystery": 1}
    assert [row["cost_usd"] for row in models["rows"] if row["model"] == "mystery"] == [None], "unknown, not 0"
    providers = await reported(run, sample_account, "--by", "provider")
    assert {row["provider"]: row["requests"] for row in providers["rows"]} == {"openai": 6, "anthropic": 1}
    clients = await reported(run, sample_account, "--by", "client")
    assert {row["client"]: row["requests"] for row in clients["rows"]} == {"claude-cli": 1, "": 6}
    sessions = await reported(run, sample_account, "--by", "session")
    assert {row["session"]: row["requests"] for row in sessions["rows"]} == {"0e1fb1a2": 1, "": 6}
    agents = await reported(run, sample_account, "--by", "agent")
    assert {row["agent"]: row["requests"] for row in agents["rows"]} == {"cli": 1, "": 6}
    tokens = await reported(run, sample_account, "--by", "token")
    assert {row["token"]: row["requests"] for row in tokens["rows"]} == {
        f"{sample_account[1]}/app": 6,
        f"{sample_account[1]}/other": 1,
    }


async def test_report_groups_by_two_dimensions_and_by_any_key_of_metadata(
    run: Run, sample_account: tuple[str, str]
) -> None:
    def requests(output: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
        return [(*(row[name] for name in names), row["requests"]) for row in output["rows"]]

    pairs = await reported(run, sample_account, "--by", "requester,model")
    assert (pairs["by"], pairs["groups"]) == ("requester,model", 6)
    assert requests(pairs, "requester", "model")[:3] == [("eve", "gpt-5", 1), ("ann", "gpt-5", 2), ("ann", "claude", 1)]
    assert sum(row["requests"] for row in pairs["rows"]) == pairs["total"]["requests"] == 7
    days = await reported(run, sample_account, "--by", "requester", "--by", "day", "--tz", "Asia/Kathmandu")
    assert requests(days, "requester", "day")[:2] == [("eve", "2026-10-25", 1), ("ann", "2026-10-26", 3)]
    projects = await reported(run, sample_account, "--by", "metadata:project,provider")
    assert sorted(requests(projects, "metadata:project", "provider")) == [("", "openai", 6), ("shop", "anthropic", 1)]
    account = sample_account[1]
    assert requests(await reported(run, sample_account, "--by", "account,month"), "account", "month") == [(account, "2026-10", 7)]  # fmt: skip
    statuses = await reported(run, sample_account, "--by", "status", "--by", "billing")
    assert {row["status"]: row["requests"] for row in statuses["rows"]} == {"200": 4, "0": 1, "429": 1, "499": 1}
    whole = run(
        "report", "--month", "2026-10", "--account", account, "--by", "endpoint,token", clickhouse=sample_account[0]
    )
    assert whole.returncode == 0 and "2026-10-01 00:00 to 2026-11-01 00:00, UTC" in whole.stdout
    text = run("report", "--month", "2026-10", "--account", account, "--by", "day,requester", "--csv", "--tz", "Europe/Zurich",
               clickhouse=sample_account[0]).stdout  # fmt: skip
    lines = [line.split(",")[:3] for line in text.removeprefix("\ufeff").splitlines()]
    assert lines[0] == ["day (Europe/Zurich)", "requester", "requests"]
    assert [line[0] for line in lines[1:]] == sorted(line[0] for line in lines[1:]), "days in their order"


async def test_csv_is_safe_and_the_table_says_period_and_zone(run: Run, sample_account: tuple[str, str]) -> None:
    url, account = sample_account
    chosen = ("report", "--since", "2026-10-01", "--until", "2026-10-31", "--account", account)
    text = run(*chosen, "--csv", clickhouse=url).stdout
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert "'=cmd" in {row["requester"] for row in rows} and len(rows) == 4 and text.startswith("\ufeff")
    assert {"cache read tokens", "cache write tokens", "cache write 1h tokens", "cache hits", "saved USD"} <= rows[
        0
    ].keys()
    by_model = list(
        csv.DictReader(
            io.StringIO(run(*chosen, "--by", "model", "--csv", clickhouse=url).stdout.removeprefix("\ufeff"))
        )
    )
    assert {row["model"]: row["cost USD"] for row in by_model}["mystery"] == "unknown"
    by_day = run(*chosen, "--by", "day", "--tz", "Europe/Zurich", "--csv", clickhouse=url).stdout
    assert by_day.startswith("\ufeffday (Europe/Zurich),")
    table = run(*chosen, "--tz", "Europe/Zurich", clickhouse=url).stdout
    assert "2026-10-01 00:00 to 2026-11-01 00:00, Europe/Zurich" in table and "(not set)" in table
    empty = run("report", "--since", "1m", "--account", account, clickhouse=url)
    assert empty.returncode == 0 and "unknown" not in empty.stdout


async def test_built_in_queries_can_be_listed_run_and_printed(run: Run, sample_account: tuple[str, str]) -> None:
    url, account = sample_account
    assert "Whose cost changed most" in run("query").stdout
    assert run("query", "top_movers", "--sql").stdout.count("{limit:UInt32}") == 1
    chosen = ("--since", "2026-10-25", "--until", "2026-10-25", "--tz", "Europe/Zurich", "--account", account)
    output = run("query", "cost_by_requester_day", *chosen, "--json", clickhouse=url)
    rows = {row["requester"]: row for row in json.loads(output.stdout)["rows"]}
    assert rows["ann"]["day"] == "2026-10-25" and rows["ann"]["cost_usd"] == "0.500000000001"
    assert rows["eve"]["cost_usd"] == "1" and rows["=cmd"]["unpriced"] == 1
    table = run("query", "cost_by_requester_day", *chosen, clickhouse=url).stdout
    assert "What did each requester cost on each day?" in table
    assert "2026-10-25 00:00 to 2026-10-26 00:00, Europe/Zurich" in table
    lines = run("query", "cost_by_requester_model", *chosen, "--csv", clickhouse=url).stdout
    assert "'=cmd" in lines and lines.startswith("\ufeffaccount,requester,provider,model,")
    unknown = run("query", "no_such_question", clickhouse=url)
    assert unknown.returncode == 2 and "cost_by_requester_day" in unknown.stderr


async def test_a_statement_names_the_month_its_sums_and_what_they_lack(
    run: Run, sample_account: tuple[str, str]
) -> None:
    url, account = sample_account
    chosen = ("statement", "--month", "2026-10", "--account", account, "--tz", "Europe/Zurich")
    shown = run(*chosen, clickhouse=url)
    assert shown.returncode == 0, shown.stderr
    assert f"Account {account}, 2026-10-01 00:00 to 2026-11-01 00:00, Europe/Zurich" in shown.stdout
    totals = [line for line in shown.stdout.splitlines() if line.startswith("total")]
    assert [line.count("$1.70") for line in totals] == [1, 1], "by model and by requester: the same total"
    assert "excludes 1 request of unknown cost" in shown.stderr
    output = json.loads(run(*chosen, "--json", clickhouse=url).stdout)
    assert output["total"]["cost_usd"] == "1.700000000001" and output["total"]["requests"] == 7
    assert {row["requester"]: row["cost_usd"] for row in output["by_requester"]}["eve"] == "1"
    assert {row["model"]: row["requests"] for row in output["by_model"]} == {"gpt-5": 5, "claude": 1, "mystery": 1}
    other = run("statement", "--month", "2026-09", "--account", account, clickhouse=url)
    assert other.returncode == 0 and "no requests" in other.stderr
    assert run("statement", "--month", "October", "--account", account, clickhouse=url).returncode == 2


async def test_an_unknown_account_is_an_error_and_one_without_requests_is_not(
    run: Run, sample_account: tuple[str, str], bucket: str
) -> None:
    url, account = sample_account
    for line in (
        "report",
        "query top_movers",
        "statement --month 2026-10",
        "reprice --since 2026-10-01 --dry-run",
        "prune --requester ann --dry-run",
        "token list",
        "key list",
    ):
        failed = run(*line.split(), "--account", "no-such", nats=bucket, clickhouse=url)
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1), line
        assert "unknown account 'no-such'" in failed.stderr and failed.stdout == ""
    fresh = unique("fresh")
    run("account", "create", fresh, nats=bucket)
    for name in (fresh, account, "default"):
        done = run("report", "--since", "1m", "--account", name, nats=bucket, clickhouse=url)
        assert done.returncode == 0, done.stderr


async def test_tables_and_json_have_the_same_rows_in_the_same_order(run: Run, sample_account: tuple[str, str]) -> None:
    url, account = sample_account
    chosen = ("--since", "2026-10-01", "--until", "2026-10-31", "--account", account)
    for line, name in (
        ("report", "requester"),
        ("report --wide", "requester"),
        ("report --by model", "model"),
        ("report --by day", "day"),
        ("report --by model,provider", "model"),
        ("query cost_by_requester_model", "account"),
        ("query usage_by_hour", "hour"),
        ("query latency_by_model", "account"),
    ):
        rows = json.loads(run(*line.split(), *chosen, "--json", clickhouse=url).stdout)["rows"]
        table = run(*line.split(), *chosen, clickhouse=url).stdout.split("\n\n", 1)[1].splitlines()[1:]
        body = [text for text in table if not text.startswith("total")]
        assert rows and len(body) == len(rows), line
        for text, row in zip(body, rows, strict=True):
            assert text.strip().startswith(str(row[name]) or "(not set)"), line


async def test_completeness_fails_when_a_numbered_event_is_not_stored(run: Run, tmp_path: Path) -> None:
    with servers.clickhouse_server(tmp_path / "clickhouse", is_empty=True) as server:
        bare = run("report", clickhouse=server.url())
        assert bare.returncode == 2 and "start the logger" in bare.stderr
        client = await clickhouse_client.connect(server.url(), service="test")
        await schema.apply(client)
        empty = run("completeness", clickhouse=server.url())
        assert empty.returncode == 0, empty.stderr
        beat = ["spool", 1, "gateway-0", datetime.now(UTC), 1, 0, True]  # its last one: it does not go silent meanwhile
        columns = ["spool", "epoch", "gateway", "at", "sequence", "dropped", "closing"]
        await client.insert("metrion.gateways", [beat], column_names=columns)
        gap = run("completeness", "--json", clickhouse=server.url())
        assert gap.returncode == 1, gap.stderr
        assert json.loads(gap.stdout)["missing"] == 1 and "1 missing" in gap.stderr
        event = [uuid.uuid4(), "default", datetime.now(UTC), "gateway-0", "spool", 1, 1]
        columns = ["id", "account", "started_at", "gateway", "spool", "epoch", "sequence"]
        await client.insert("metrion.request_events", [event], column_names=columns)
        whole = run("completeness", clickhouse=server.url())
        assert whole.returncode == 0 and "Complete" in whole.stderr, whole.stdout
        await client.close()
        wrong = run("report", clickhouse=f"http://logger:geheim@127.0.0.1:{server.port}")
        assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "geheim" not in wrong.stderr


async def test_completeness_misses_nothing_of_a_gateway_that_ended_before_or_was_killed(
    run: Run, tmp_path: Path
) -> None:
    """Numbers rise from an instance's start: what it numbered before the time that is asked about is no gap in it."""
    now = datetime.now(UTC)
    with servers.clickhouse_server(tmp_path / "clickhouse") as server:
        client = await clickhouse_client.connect(server.url(), service="test")
        await schema.apply(client)
        beats = [
            [spool, 1, spool, now - timedelta(hours=hours), sequence]
            for spool, hours, sequence in (("ended", 60, 100), ("ended", 30, 102), ("killed", 30, 100))
        ]
        beats = [[*beat, beat[0] == "ended" and beat[4] == 102] for beat in beats]
        columns = ["spool", "epoch", "gateway", "at", "sequence", "closing"]
        await client.insert("metrion.gateways", beats, column_names=columns)
        events = [
            [uuid.uuid4(), "default", now - timedelta(hours=hours), spool, spool, 1, sequence]
            for spool, hours, sequence in (
                ("ended", 40, 101),
                ("ended", 31, 102),
                ("killed", 29, 101),
                ("killed", 2, 103),
            )
        ]
        columns = ["id", "account", "started_at", "gateway", "spool", "epoch", "sequence"]
        await client.insert("metrion.request_events", events, column_names=columns)
        await client.close()
        found = json.loads(run("completeness", "--json", clickhouse=server.url()).stdout)
    assert [(row["spool"], row["sent"], row["missing"]) for row in found["instances"]] == [("killed", 3, 1)]
