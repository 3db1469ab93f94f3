"""`metrion completeness` and the dashboard must never claim that all is stored when something may be missing."""

import asyncio
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import cli, servers
from tests.support.dashboard_app import create_accounts, running_dashboard

SECOND = timedelta(seconds=1)


class Beat(NamedTuple):
    """A heartbeat of a gateway."""

    row: dict[str, Any]
    ago: float
    late: float

    @property
    def is_running(self) -> bool:
        """Whether the gateway goes on: a beat of 35 seconds ago is one of a silent gateway."""
        return not self.ago and not self.row.get("closing")

    def stored(self, now: datetime) -> dict[str, Any]:
        """The row, with its times before `now`."""
        at = now - self.ago * SECOND
        return {"at": _text(at), "ingested_at": _text(at + self.late * SECOND), **self.row}


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


class Ledger:
    """A ClickHouse with beats and events of gateway instances, and the verdict on them."""

    def __init__(self, server: servers.ClickHouseServer, directory: Path) -> None:
        self.server, self.directory = server, directory
        self._beats: list[Beat] = []  # to be stored
        self._events: list[tuple[float, dict[str, Any]]] = []  # likewise: seconds ago, and the row

    def beat(
        self, spool: str, epoch: int = 1, *, sequence: int, ago: float = 0, late: float = 0.1, **more: int
    ) -> None:
        """A beat said `ago` seconds before now and stored `late` seconds after that."""
        row = {"spool": spool, "epoch": epoch, "gateway": f"g-{spool}", "sequence": sequence, **more}
        self._beats.append(Beat(row, ago, late))

    def events(self, spool: str, epoch: int = 1, *, numbers: range, ago: float = 0) -> None:
        common = {"account": "default", "gateway": f"g-{spool}", "spool": spool, "epoch": epoch}
        self._events += [(ago, {"id": str(uuid.uuid4()), **common, "sequence": number}) for number in numbers]

    def store(self) -> None:
        """Store the beats and events as of this moment, and another beat of each gateway that runs."""
        now = datetime.now(UTC)
        self._insert("gateways", [beat.stored(now) for beat in self._beats])
        self._insert("request_events", [row | {"started_at": _text(now - ago * SECOND)} for ago, row in self._events])
        self._beats, self._events = [beat for beat in self._beats if beat.is_running], []

    def _insert(self, table: str, stored: list[dict[str, Any]]) -> None:
        if stored:
            lines = "\n".join(map(json.dumps, stored))
            self.server.query(f"INSERT INTO metrion.{table} FORMAT JSONEachRow {lines}")

    def verdict(self, *arguments: str, user: str = "logger") -> tuple[int, dict[str, Any], str]:
        """Exit status, JSON and the sentence of `metrion completeness`."""
        self.store()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        chosen = {"METRION_DATA_DIR": str(self.directory), "METRION_CLICKHOUSE_URL": self.server.url(user)}
        done = cli.run("completeness", "--json", *arguments, env=kept | chosen)
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        asyncio.run(servers.apply_schema(server.url()))
        yield server


@pytest.fixture
def ledger(server: servers.ClickHouseServer, tmp_path: Path) -> Ledger:
    """A ledger without beats and events: a verdict is on all that are stored."""
    for table in ("gateways", "request_events", "response_events"):
        server.query(f"TRUNCATE TABLE metrion.{table}")
    return Ledger(server, tmp_path)


def states(found: dict[str, Any]) -> dict[str, str]:
    return {f"{row['spool']}/{row['epoch']}": row["state"] for row in found["instances"]}


def test_a_gateway_that_vanished_without_a_final_heartbeat_is_never_called_complete(ledger: Ledger) -> None:
    """It answered 709 more requests while NATS was away, and its disk went with it: all that came is stored."""
    ledger.events("gone", numbers=range(1, 11), ago=120)
    ledger.beat("gone", sequence=10, ago=60)
    ledger.beat("here", sequence=0)
    status, found, message = ledger.verdict()
    assert (status, found["complete"], found["unconfirmed"], found["missing"]) == (1, False, 1, 0)
    assert states(found) == {"gone/1": "unconfirmed", "here/1": "running"}
    assert "Not complete: 1 gateway instance went silent" in message and "gone/1" in message


def test_a_silent_gateway_is_not_forgotten_when_a_shorter_period_is_asked_about(ledger: Ledger) -> None:
    ledger.beat("gone", sequence=0, ago=3 * 86400)
    ledger.beat("old", sequence=0, ago=7 * 86400)
    ledger.beat("ended", sequence=0, ago=3 * 86400, closing=1)
    status, found, _ = ledger.verdict("--since", "1h")
    assert (status, states(found)) == (1, {"gone/1": "unconfirmed"})


def test_a_killed_gateway_is_complete_again_once_its_next_start_has_replayed_everything(ledger: Ledger) -> None:
    ledger.events("a", numbers=range(1, 5), ago=70)
    ledger.beat("a", sequence=4, ago=60)
    ledger.beat("a", 2, sequence=0)  # its next start: what the first one numbered last is not known yet
    status, found, _ = ledger.verdict()
    assert (status, states(found)) == (1, {"a/1": "unconfirmed", "a/2": "running"})
    ledger.beat("a", sequence=7, ago=50, late=50, closing=1)  # the next start says how far it had numbered
    status, found, message = ledger.verdict()
    assert (status, found["missing"], states(found)["a/1"]) == (1, 3, "ended") and "3 missing" in message
    ledger.events("a", numbers=range(5, 8), ago=55)  # replayed
    status, found, message = ledger.verdict()
    assert (status, found["complete"]) == (0, True) and message.startswith("Complete up to ")


def test_a_final_heartbeat_below_what_is_stored_does_not_count(ledger: Ledger) -> None:
    """The gateway was killed, and its volume restored from a copy made while it ran: events behind the copy are gone."""
    ledger.events("a", numbers=range(1, 13), ago=70)
    ledger.beat("a", sequence=6, ago=60, late=50, closing=1)  # what the next start found in the copy
    ledger.beat("a", 2, sequence=0)
    status, found, message = ledger.verdict()
    assert (status, states(found)["a/1"]) == (1, "unconfirmed"), message


def test_a_replaced_gateway_is_not_running_despite_a_heartbeat_a_second_ago(ledger: Ledger) -> None:
    ledger.beat("a", sequence=0, ago=1)
    ledger.beat("a", 2, sequence=0)
    status, found, _ = ledger.verdict()
    assert (status, states(found)["a/1"]) == (1, "unconfirmed")


def test_instance_with_events_but_no_heartbeat_is_unconfirmed(ledger: Ledger) -> None:
    ledger.events("mute", numbers=range(1, 3))
    assert (ledger.verdict()[0], states(ledger.verdict()[1])) == (1, {"mute/1": "unconfirmed"})


def test_late_heartbeats_do_not_make_a_dead_gateway_look_alive(ledger: Ledger) -> None:
    ledger.beat("late", sequence=0, ago=300, late=0.1)
    ledger.beat("late", sequence=0, ago=120, late=119)  # from its outbox, shipped just now
    assert states(ledger.verdict()[1]) == {"late/1": "unconfirmed"}


def test_a_wrong_clock_does_not_make_a_running_gateway_silent(ledger: Ledger) -> None:
    ledger.beat("slow", sequence=0, ago=1200, late=1000)
    ledger.beat("slow", sequence=0, ago=1001, late=1000)
    status, found, _ = ledger.verdict()
    assert (status, states(found)) == (0, {"slow/1": "running"})


@pytest.mark.parametrize("ahead", [3600, -600], ids=["was ahead", "set back"])
def test_a_clock_that_was_set_does_not_make_a_running_gateway_silent(ledger: Ledger, ahead: int) -> None:
    before, after = (ahead, 0) if ahead > 0 else (0, ahead)
    for number in range(6):
        ledger.beat("set", sequence=number, ago=180 - 10 * number - before, late=0.1 - before)
    for number in range(10):
        ledger.beat("set", sequence=6 + number, ago=90 - 10 * number - after, late=0.1 - after)
    ledger.events("set", numbers=range(1, 16), ago=100)
    status, found, message = ledger.verdict()
    assert (status, states(found)) == (0, {"set/1": "running"})
    assert datetime.fromisoformat(found["instances"][0]["heard_at"]) < datetime.now(UTC) + SECOND, message


def test_a_clock_that_was_ahead_does_not_keep_a_dead_gateway_running(ledger: Ledger) -> None:
    ahead = 3 * 86400
    for number in range(3):
        ledger.beat("ahead", sequence=number, ago=7200 - 10 * number - ahead, late=0.1 - ahead)
    status, found, message = ledger.verdict()
    assert (status, states(found)) == (1, {"ahead/1": "unconfirmed"}), message


def test_shipping_the_outbox_of_a_dead_gateway_does_not_make_it_look_alive(ledger: Ledger) -> None:
    ledger.beat("dead", sequence=0, ago=300)
    for number in range(9):
        ago = 120 - 10 * number
        ledger.beat("dead", sequence=number, ago=ago, late=ago - 2 + number / 10)
    assert states(ledger.verdict()[1]) == {"dead/1": "unconfirmed"}


def test_a_restart_after_days_reports_no_old_event_as_missing(ledger: Ledger) -> None:
    ledger.events("a", numbers=range(1, 21), ago=3 * 86400)
    ledger.beat("a", sequence=15, ago=3 * 86400)
    ledger.beat("a", sequence=20, ago=3 * 86400 - 10, late=3 * 86400 - 11, closing=1)
    ledger.beat("a", 2, sequence=0)
    status, found, _ = ledger.verdict()
    assert (status, states(found)) == (0, {"a/2": "running"})


def test_an_operator_can_accept_what_is_lost_and_the_verdict_names_it(ledger: Ledger) -> None:
    ledger.events("gone", numbers=range(1, 3), ago=70)
    ledger.beat("gone", sequence=3, ago=60)
    ledger.beat("here", sequence=0)
    assert ledger.verdict("--accept", "nobody/1")[0] == 1
    refused = ledger.verdict("--accept", "here/1")
    assert refused[0] == 1 and "running" in refused[2]
    status, found, message = ledger.verdict("--accept", "gone/1", user="admin")
    assert (status, states(found)["gone/1"]) == (0, "accepted"), message
    assert "Accepted gone/1" in message and "apart from 1 accepted as incomplete" in message
    again = ledger.verdict("--accept", "gone/1", user="admin")
    assert again[0] == 1 and "already" in again[2]
    ledger.beat("other", sequence=1, ago=60)
    assert ledger.verdict()[0] == 1  # what was accepted hides nothing else


async def test_the_health_page_gives_the_same_verdict_as_the_command_line(
    ledger: Ledger, nats: servers.NatsServer
) -> None:
    await create_accounts(nats)
    ledger.beat("gone", sequence=0, ago=60)
    ledger.store()
    async with running_dashboard(nats.url("dashboard"), ledger.server.url("reader")) as made:
        page = (await (await made.browser("admin")).get("/health")).text
        assert "Not complete: 1 gateway instance went silent" in page and "unconfirmed" in page
        assert "running" not in page
        ledger.beat("gone", sequence=0, ago=50, closing=1)
        ledger.store()
        page = (await (await made.browser("admin")).get("/health")).text
    assert "Complete: every numbered event is stored once" in page and "ended" in page
