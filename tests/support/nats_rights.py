"""Tests of each NATS user's permissions, for any server named `server`."""

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.js import api

from shared import events, nats_client
from tests.support import servers


class Users:
    """A connection for each user."""

    def __init__(self, gateway: Client, logger: Client, admin: Client) -> None:
        self.gateway, self.logger, self.admin = gateway, logger, admin


@pytest.fixture
async def users(server: servers.NatsServer) -> AsyncIterator[Users]:
    clients = [
        await nats_client.connect(server.url(user), service="cli" if user == "admin" else user)
        for user in ("gateway", "logger", "admin")
    ]
    await servers.provision(server)
    yield Users(*clients)
    for client in clients:
        await client.close()


async def refusal(server: servers.NatsServer, user: str, *, publish: str = "", subscribe: str = "") -> str:
    """What the server says to a user about a subject that it may not use; TimeoutError when it says nothing."""
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def note(error: Exception) -> None:
        if not heard.done():
            heard.set_result(str(error).lower())

    client = await nats.connect(server.url(user), error_cb=note, inbox_prefix=f"_INBOX_{user}".encode())
    try:
        if publish:
            await client.publish(publish, b"{}")
        if subscribe:
            await client.subscribe(subscribe)
        await client.flush(timeout=60)
        return await asyncio.wait_for(heard, servers.DEADLINE)
    finally:
        await client.close()


async def test_events_go_from_the_gateway_to_the_logger(users: Users) -> None:
    await users.gateway.jetstream().publish("metrion.events.one", b"event")
    js = users.logger.jetstream()
    pull = await js.pull_subscribe_bind(consumer=events.LOGGER_CONSUMER, stream=events.EVENTS_STREAM)
    message = (await pull.fetch(1, timeout=servers.DEADLINE))[0]
    assert message.data == b"event"
    await message.ack_sync(timeout=servers.DEADLINE)
    await js.purge_stream(events.EVENTS_STREAM)
    await js.publish("metrion.dead.test", b"poison")


async def test_the_command_line_writes_accounts_and_the_gateway_watches_them(users: Users) -> None:
    bucket = await users.admin.jetstream().key_value(events.ACCOUNTS_BUCKET)
    await bucket.put("account.watched", b"{}")
    js = users.gateway.jetstream()
    watch = await js.subscribe(
        "$KV.accounts.account.>",
        stream="KV_accounts",
        ordered_consumer=True,
        deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
    )
    assert (await watch.next_msg(timeout=servers.DEADLINE)).data == b"{}"
    await watch.unsubscribe()
    assert (await (await js.key_value(events.ACCOUNTS_BUCKET)).get("account.watched")).value == b"{}"


@pytest.mark.parametrize(
    "subject",
    [
        "$KV.accounts.account.evil",
        "$JS.API.STREAM.CREATE.evil",
        "$JS.API.STREAM.UPDATE.KV_accounts",
        "$JS.API.STREAM.PURGE.KV_accounts",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.logger",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS",
        "metrion.dead.evil",
    ],
)
async def test_a_taken_over_gateway_cannot_write_accounts_or_read_events(
    server: servers.NatsServer, subject: str
) -> None:
    assert "permissions violation" in await refusal(server, "gateway", publish=subject)


@pytest.mark.parametrize(
    "subject",
    [
        "$KV.accounts.account.evil",
        "metrion.events.evil",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.KV_accounts",
        "$JS.API.DIRECT.GET.KV_accounts",
        "$JS.API.STREAM.CREATE.evil",
    ],
)
async def test_a_taken_over_logger_cannot_write_accounts_or_invent_events(
    server: servers.NatsServer, subject: str
) -> None:
    assert "permissions violation" in await refusal(server, "logger", publish=subject)


@pytest.mark.parametrize(
    "subject",
    [
        "metrion.events.evil",
        "metrion.dead.evil",
        "$KV.accounts.account.evil",
        "$JS.API.DIRECT.GET.KV_accounts.$KV.accounts.account.default",
        "$JS.API.STREAM.MSG.GET.KV_accounts",
        "$JS.API.STREAM.INFO.KV_accounts",
        "$JS.API.CONSUMER.CREATE.KV_accounts",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.STREAM.CREATE.evil",
        "$JS.API.STREAM.DELETE.KV_cache",
        "$JS.API.STREAM.PURGE.KV_cache",
        "metrion.cache.store",
        "metrion.cache.purge",
        "_INBOX_gateway.evil",
        "_INBOX_admin.evil",
    ],
)
async def test_a_taken_over_cache_reads_no_accounts_and_invents_no_events(
    server: servers.NatsServer, subject: str
) -> None:
    assert "permissions violation" in await refusal(server, "cache", publish=subject)


@pytest.mark.parametrize(
    "subject",
    [
        "metrion.events.gateway",
        "metrion.cache.store",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.DELETE.KV_accounts",
    ],
)
async def test_a_taken_over_dashboard_invents_no_events_and_throws_none_away(
    server: servers.NatsServer, subject: str
) -> None:
    assert "permissions violation" in await refusal(server, "dashboard", publish=subject)


@pytest.mark.parametrize("subject", ["metrion.events.>", "metrion.cache.lookup", "_INBOX_gateway.>", ">"])
async def test_a_dashboard_cannot_listen_to_others(server: servers.NatsServer, subject: str) -> None:
    assert "permissions violation" in await refusal(server, "dashboard", subscribe=subject)


@pytest.mark.parametrize(
    "subject", ["_INBOX_gateway.>", "_INBOX_cli.>", "metrion.events.>", "$KV.accounts.>", "$KV.cache.>", "metrion.>"]
)
async def test_a_cache_cannot_listen_to_others(server: servers.NatsServer, subject: str) -> None:
    assert "permissions violation" in await refusal(server, "cache", subscribe=subject)


@pytest.mark.parametrize("user", ["gateway", "logger"])
@pytest.mark.parametrize(
    "subject",
    [
        "$KV.cache.a.b.c",
        "$KV.cache_leases.a.b.c",
        "metrion.cache.changed.x",
        "metrion.cache.purge",
        "metrion.cache.stats",
        "$JS.API.STREAM.PURGE.KV_cache",
        "$JS.API.DIRECT.GET.KV_cache.$KV.cache.a.b.c",
    ],
)
async def test_entries_are_reached_through_the_cache_only(server: servers.NatsServer, user: str, subject: str) -> None:
    assert "permissions violation" in await refusal(server, user, publish=subject)


async def test_the_command_line_purges_entries_and_cannot_read_or_plant_any(server: servers.NatsServer) -> None:
    for subject in ("$KV.cache.a.b.c", "$JS.API.DIRECT.GET.KV_cache.$KV.cache.a.b.c", "metrion.cache.store"):
        assert "permissions violation" in await refusal(server, "admin", publish=subject)


@pytest.mark.parametrize("subject", ["$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.PURGE.EVENTS", "other"])
async def test_the_command_line_cannot_throw_events_away(server: servers.NatsServer, subject: str) -> None:
    assert "permissions violation" in await refusal(server, "admin", publish=subject)


@pytest.mark.parametrize(
    "subject",
    ["_INBOX_logger.>", "_INBOX_cli.>", "metrion.events.>", "$KV.accounts.>", "metrion.cache.lookup", ">"],
)
async def test_a_gateway_cannot_listen_to_others(server: servers.NatsServer, subject: str) -> None:
    assert "permissions violation" in await refusal(server, "gateway", subscribe=subject)


async def test_a_wrong_password_is_refused(server: servers.NatsServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)  # the client leaves its socket open here
    await reader.readline()
    writer.write(b'CONNECT {"user": "gateway", "pass": "guessed", "verbose": false}\r\nPING\r\n')
    assert b"Authorization Violation" in await asyncio.wait_for(reader.readline(), servers.DEADLINE)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "subject",
    [
        "metrion.events.evil",
        "metrion.dead.evil",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.logger",
        "$JS.API.STREAM.DELETE.AUDIT",
        "$JS.API.STREAM.PURGE.AUDIT",
        "$JS.API.STREAM.MSG.DELETE.AUDIT",
        "$JS.API.STREAM.UPDATE.AUDIT",
        "$JS.API.STREAM.UPDATE.KV_dashboard",
        "$JS.API.DIRECT.GET.KV_cache.$KV.cache.a.b.c",
        "metrion.cache.store",
        "$JS.API.STREAM.CREATE.evil",
    ],
)
async def test_a_taken_over_dashboard_invents_no_events_and_wipes_no_record(
    server: servers.NatsServer, subject: str
) -> None:
    assert "permissions violation" in await refusal(server, "dashboard", publish=subject)


@pytest.mark.parametrize("user", ["gateway", "logger", "cache"])
@pytest.mark.parametrize(
    "subject",
    ["$KV.dashboard.user.61", "$KV.dashboard.session.61.0", "metrion.audit.user", "$JS.API.DIRECT.GET.KV_dashboard"],
)
async def test_only_administrators_create_users_or_write_audit_records(
    server: servers.NatsServer, user: str, subject: str
) -> None:
    assert "permissions violation" in await refusal(server, user, publish=subject)


@pytest.mark.parametrize("subject", ["$KV.dashboard.session.61.0", "$JS.API.STREAM.PURGE.AUDIT"])
async def test_the_command_line_plants_no_session_and_wipes_no_record(server: servers.NatsServer, subject: str) -> None:
    assert "permissions violation" in await refusal(server, "admin", publish=subject)
