"""`metrion completeness` and the dashboard must never claim that all is stored when something may be missing."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse
from tests.support import cli, servers
from tests.support.dashboard_app import desk, settle

SECOND = timedelta(seconds=1)


class Ledger:
    """A ClickHouse with beats and events of gateway instances, and the verdict on them."""

    def __init__(self, server: servers.ClickHouseServer, client: AsyncClient, directory: Path) -> None:
        self.server, self.client, self.directory = server, client, directory
        self.now = datetime.now(UTC)

    async def beat(
        self, spool: str, epoch: int = 1, *, sequence: int, ago: float = 0, late: float = 0.1, **more: int
    ) -> None:
        """A beat said `ago` seconds before now and stored `late` seconds after that."""
        at = self.now - ago * SECOND
        row = {"spool": spool, "epoch": epoch, "gateway": f"g-{spool}", "at": at, "sequence": sequence}
        row |= {"ingested_at": at + late * SECOND, **more}
        await self.client.insert("metrion.gateways", [list(row.values())], column_names=list(row))

    async def events(self, spool: str, epoch: int = 1, *, numbers: range, ago: float = 0) -> None:
        rows = [
            [uuid.uuid4(), "default", self.now - ago * SECOND, f"g-{spool}", spool, epoch, number] for number in numbers
        ]
        columns = ["id", "account", "started_at", "gateway", "spool", "epoch", "sequence"]
        await self.client.insert("metrion.request_events", rows, column_names=columns)

    def verdict(self, *arguments: str, user: str = "logger") -> tuple[int, dict[str, Any], str]:
        """Exit status, JSON and the sentence of `metrion completeness`."""
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
async def ledger(server: servers.ClickHouseServer, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger without beats and events: a verdict is on all that are stored."""
    client = await clickhouse.connect(server.url(), service="test")
    for table in ("gateways", "request_events", "response_events"):
        await client.command(f"TRUNCATE TABLE metrion.{table}")
    yield Ledger(server, client, tmp_path)
    await client.close()


def states(found: dict[str, Any]) -> dict[str, str]:
    return {f"{row['spool']}/{row['epoch']}": row["state"] for row in found["instances"]}


async def test_a_gateway_that_vanished_without_a_final_heartbeat_is_never_called_complete(ledger: Ledger) -> None:
    """It answered 709 more requests while NATS was away, and its disk went with it: all that came is stored."""
    await ledger.events("gone", numbers=range(1, 11), ago=120)
    await ledger.beat("gone", sequence=10, ago=60)
    await ledger.beat("here", sequence=0)
    status, found, message = ledger.verdict()
    assert (status, found["complete"], found["unconfirmed"], found["missing"]) == (1, False, 1, 0)
    assert states(found) == {"gone/1": "unconfirmed", "here/1": "running"}
    assert "Not complete: 1 gateway instance went silent" in message and "gone/1" in message


async def test_a_silent_gateway_is_not_forgotten_when_a_shorter_period_is_asked_about(ledger: Ledger) -> None:
    await ledger.beat("gone", sequence=0, ago=3 * 86400)
    await ledger.beat("old", sequence=0, ago=7 * 86400)
    await ledger.beat("ended", sequence=0, ago=3 * 86400, closing=1)
    status, found, _ = ledger.verdict("--since", "1h")
    assert (status, states(found)) == (1, {"gone/1": "unconfirmed"})


async def test_a_killed_gateway_is_complete_again_once_its_next_start_has_replayed_everything(ledger: Ledger) -> None:
    await ledger.events("a", numbers=range(1, 5), ago=70)
    await ledger.beat("a", sequence=4, ago=60)
    await ledger.beat("a", 2, sequence=0)  # its next start: what the first one numbered last is not known yet
    status, found, _ = ledger.verdict()
    assert (status, states(found)) == (1, {"a/1": "unconfirmed", "a/2": "running"})
    await ledger.beat("a", sequence=7, ago=50, late=50, closing=1)  # the next start says how far it had numbered
    status, found, message = ledger.verdict()
    assert (status, found["missing"], states(found)["a/1"]) == (1, 3, "ended") and "3 missing" in message
    await ledger.events("a", numbers=range(5, 8), ago=55)  # replayed
    status, found, message = ledger.verdict()
    assert (status, found["complete"]) == (0, True) and message.startswith("Complete up to ")


async def test_a_final_heartbeat_below_what_is_stored_does_not_count(ledger: Ledger) -> None:
    """The gateway was killed, and its volume restored from a copy made while it ran: events behind the copy are gone."""
    await ledger.events("a", numbers=range(1, 13), ago=70)
    await ledger.beat("a", sequence=6, ago=60, late=50, closing=1)  # what the next start found in the copy
    await ledger.beat("a", 2, sequence=0)
    status, found, message = ledger.verdict()
    assert (status, states(found)["a/1"]) == (1, "unconfirmed"), message


async def test_a_replaced_gateway_is_not_running_despite_a_heartbeat_a_second_ago(ledger: Ledger) -> None:
    await ledger.beat("a", sequence=0, ago=1)
    await ledger.beat("a", 2, sequence=0)
    status, found, _ = ledger.verdict()
    assert (status, states(found)["a/1"]) == (1, "unconfirmed")


async def test_instance_with_events_but_no_heartbeat_is_unconfirmed(ledger: Ledger) -> None:
    await ledger.events("mute", numbers=range(1, 3))
    assert (ledger.verdict()[0], states(ledger.verdict()[1])) == (1, {"mute/1": "unconfirmed"})


async def test_late_heartbeats_do_not_make_a_dead_gateway_look_alive(ledger: Ledger) -> None:
    await ledger.beat("late", sequence=0, ago=300, late=0.1)
    await ledger.beat("late", sequence=0, ago=120, late=119)  # from its outbox, shipped just now
    assert states(ledger.verdict()[1]) == {"late/1": "unconfirmed"}


async def test_a_wrong_clock_does_not_make_a_running_gateway_silent(ledger: Ledger) -> None:
    await ledger.beat("slow", sequence=0, ago=1200, late=1000)
    await ledger.beat("slow", sequence=0, ago=1001, late=1000)
    status, found, _ = ledger.verdict()
    assert (status, states(found)) == (0, {"slow/1": "running"})


@pytest.mark.parametrize("ahead", [3600, -600], ids=["was ahead", "set back"])
async def test_a_clock_that_was_set_does_not_make_a_running_gateway_silent(ledger: Ledger, ahead: int) -> None:
    before, after = (ahead, 0) if ahead > 0 else (0, ahead)
    for number in range(6):
        await ledger.beat("set", sequence=number, ago=180 - 10 * number - before, late=0.1 - before)
    for number in range(10):
        await ledger.beat("set", sequence=6 + number, ago=90 - 10 * number - after, late=0.1 - after)
    await ledger.events("set", numbers=range(1, 16), ago=100)
    status, found, message = ledger.verdict()
    assert (status, states(found)) == (0, {"set/1": "running"})
    assert datetime.fromisoformat(found["instances"][0]["heard_at"]) < datetime.now(UTC) + SECOND, message


async def test_a_clock_that_was_ahead_does_not_keep_a_dead_gateway_running(ledger: Ledger) -> None:
    ahead = 3 * 86400
    for number in range(3):
        await ledger.beat("ahead", sequence=number, ago=7200 - 10 * number - ahead, late=0.1 - ahead)
    status, found, message = ledger.verdict()
    assert (status, states(found)) == (1, {"ahead/1": "unconfirmed"}), message


async def test_shipping_the_outbox_of_a_dead_gateway_does_not_make_it_look_alive(ledger: Ledger) -> None:
    await ledger.beat("dead", sequence=0, ago=300)
    for number in range(9):
        ago = 120 - 10 * number
        await ledger.beat("dead", sequence=number, ago=ago, late=ago - 2 + number / 10)
    assert states(ledger.verdict()[1]) == {"dead/1": "unconfirmed"}


async def test_a_restart_after_days_reports_no_old_event_as_missing(ledger: Ledger) -> None:
    await ledger.events("a", numbers=range(1, 21), ago=3 * 86400)
    await ledger.beat("a", sequence=15, ago=3 * 86400)
    await ledger.beat("a", sequence=20, ago=3 * 86400 - 10, late=3 * 86400 - 11, closing=1)
    await ledger.beat("a", 2, sequence=0)
    status, found, _ = ledger.verdict()
    assert (status, states(found)) == (0, {"a/2": "running"})


async def test_an_operator_can_accept_what_is_lost_and_the_verdict_names_it(ledger: Ledger) -> None:
    await ledger.events("gone", numbers=range(1, 3), ago=70)
    await ledger.beat("gone", sequence=3, ago=60)
    await ledger.beat("here", sequence=0)
    assert ledger.verdict("--accept", "nobody/1")[0] == 1
    refused = ledger.verdict("--accept", "here/1")
    assert refused[0] == 1 and "running" in refused[2]
    status, found, message = ledger.verdict("--accept", "gone/1", user="admin")
    assert (status, states(found)["gone/1"]) == (0, "accepted"), message
    assert "Accepted gone/1" in message and "apart from 1 accepted as incomplete" in message
    again = ledger.verdict("--accept", "gone/1", user="admin")
    assert again[0] == 1 and "already" in again[2]
    await ledger.beat("other", sequence=1, ago=60)
    assert ledger.verdict()[0] == 1  # what was accepted hides nothing else


async def test_the_health_page_gives_the_same_verdict_as_the_command_line(
    ledger: Ledger, nats: servers.NatsServer
) -> None:
    await settle(nats)
    await ledger.beat("gone", sequence=0, ago=60)
    async with desk(nats.url("dashboard"), ledger.server.url("reader")) as made:
        page = (await (await made.browser("admin")).get("/health")).text
        assert "Not complete: 1 gateway instance went silent" in page and "unconfirmed" in page
        assert "running" not in page
        await ledger.beat("gone", sequence=0, ago=50, closing=1)
        page = (await (await made.browser("admin")).get("/health")).text
    assert "Complete: every numbered event is stored once" in page and "ended" in page
