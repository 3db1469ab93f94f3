"""Sessions of the dashboard on a real nats-server, under a clock of the test's own."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from services.dashboard.auth import sessions
from services.dashboard.auth.sessions import Sessions
from services.dashboard.nats_connection import Unavailable
from shared import dashboard_users, nats_client, passwords
from tests.support import servers


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture
async def nc(server: servers.NatsServer) -> AsyncIterator[Client]:
    await servers.provision(server)
    client = await nats_client.connect(server.url("dashboard"), service="dashboard")
    yield client
    await client.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(nc: Client, clock: Clock) -> Sessions:
    return Sessions(nc.jetstream, clock=clock)


async def ann(nc: Client) -> dashboard_users.User:
    js = nc.jetstream()
    if found := await dashboard_users.get(js, "ann"):
        return found[0]
    return await dashboard_users.create(
        js, name="ann", role=dashboard_users.VIEWER, password=passwords.hashed("x", n=16, p=1)
    )


async def started(kept: Sessions, nc: Client) -> str:
    return await kept.start(await ann(nc), address="127.0.0.1", agent="browser")


async def test_session_expires_after_twelve_idle_hours(kept: Sessions, nc: Client, clock: Clock) -> None:
    cookie = await started(kept, nc)
    for _ in range(3):
        clock.pass_(hours=11)
        assert await kept.find(cookie), "using it keeps it on"
    clock.pass_(hours=12, minutes=11)
    assert await kept.find(cookie) is None
    assert await Sessions(nc.jetstream, clock=clock).find(cookie) is None, "on no replica"


async def test_session_expires_after_seven_days_even_if_used(kept: Sessions, nc: Client, clock: Clock) -> None:
    cookie = await started(kept, nc)
    for _ in range(16):
        clock.pass_(hours=10)
        assert await kept.find(cookie)
    clock.pass_(hours=8)
    assert await kept.find(cookie) is None


async def test_session_ended_by_another_replica_ends_here_within_seconds(
    kept: Sessions, nc: Client, clock: Clock
) -> None:
    other, cookie = Sessions(nc.jetstream, clock=clock), await started(kept, nc)
    found = await kept.find(cookie)
    assert found and (await other.find(cookie)) == found
    await other.end("ann", found[1])
    clock.pass_(seconds=3)
    assert await kept.find(cookie) is None
    assert [session.digest for session in await kept.active(await ann(nc))].count(found[1]) == 0


async def test_using_an_ended_session_does_not_revive_it(kept: Sessions, nc: Client, clock: Clock) -> None:
    cookie = await started(kept, nc)
    found = await kept.find(cookie)
    assert found
    key = next(iter(kept._cache))
    known = kept._cache[key]
    await Sessions(nc.jetstream, clock=clock).end("ann", found[1])
    clock.pass_(hours=1)
    await kept._touch(key, known, now=clock.now)  # it was read before, and its use is noted after it was ended
    kept.clear_cache()
    assert await kept.find(cookie) is None


async def test_changing_the_password_ends_sessions_of_the_old_one(kept: Sessions, nc: Client, clock: Clock) -> None:
    cookie = await started(kept, nc)
    assert await kept.find(cookie)
    await dashboard_users.change(nc.jetstream(), "ann", tz="Europe/Zurich")
    clock.pass_(seconds=3)
    assert await kept.find(cookie), "a time zone does not"
    await dashboard_users.change(nc.jetstream(), "ann", password=passwords.hashed("y", n=16, p=1))
    clock.pass_(seconds=3)
    assert await kept.find(cookie) is None


@pytest.mark.parametrize(
    "cookie",
    ["", ".", "x", "616e6e." + "A" * 43, "616e6e." + "A" * 42 + "*", "616e6e.>", "*." + "A" * 43, "zz." + "A" * 43],
)
async def test_invented_session_cookie_is_rejected(kept: Sessions, nc: Client, cookie: str) -> None:
    await started(kept, nc)
    assert await kept.find(cookie) is None


async def test_a_session_id_is_valid_for_its_own_user_only(kept: Sessions, nc: Client) -> None:
    cookie = await started(kept, nc)
    await dashboard_users.create(nc.jetstream(), name="root", role=dashboard_users.ADMIN)
    assert await kept.find(f"{b'root'.hex()}.{cookie.partition('.')[2]}") is None


async def test_known_session_stays_valid_for_fifteen_minutes_without_nats(nc: Client, clock: Clock) -> None:
    away = False

    def js():  # type: ignore[no-untyped-def]
        if away:
            raise Unavailable("away")
        return nc.jetstream()

    kept = Sessions(js, clock=clock)
    cookie = await started(kept, nc)
    assert await kept.find(cookie)
    away = True
    clock.pass_(minutes=14)
    assert await kept.find(cookie)
    clock.pass_(minutes=2)
    with pytest.raises(Unavailable):
        await kept.find(cookie)


async def test_session_records_expire_in_the_stream(kept: Sessions, nc: Client) -> None:
    await started(kept, nc)
    info = await nc.jetstream().stream_info(dashboard_users.STREAM)
    message = await nc.jetstream().get_msg(dashboard_users.STREAM, info.state.last_seq)
    assert message.subject and ".session." in message.subject
    assert 0 < int((message.headers or {})["Nats-TTL"].removesuffix("s")) <= sessions.ABSOLUTE.total_seconds()
