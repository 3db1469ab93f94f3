"""No service's NATS user may change a stream, read a foreign one or speak in another's name: what is taken over stays alone."""

import asyncio
import json
from collections.abc import Iterator

import nats
import pytest
from nats.js import api
from nats.js.errors import APIError

from deploy.users.nats import USERS
from shared import cache_protocol, nats_client, streams
from shared.events import DEAD_STREAM, EVENTS_STREAM
from tests.support import servers

STREAMS = (
    "EVENTS",
    "DEAD",
    "AUDIT",
    "KV_accounts",
    "KV_dashboard",
    "KV_cache",
    "KV_cache_leases",
    "RATE",
    "SPEND",
    "KV_alerts",
    "KV_prices",
)
SERVICES = tuple(user for user in USERS if user != "provision")
# What a user does at runtime; everything else is to be refused.
PURGES = {("logger", "EVENTS"), ("cache", "KV_cache_leases"), ("dashboard", "KV_cache"), ("admin", "KV_cache"), ("admin", "DEAD")}  # fmt: skip
DELETES_MESSAGES = {
    (user, stream) for user in ("dashboard", "admin") for stream in ("KV_accounts", "DEAD", "KV_alerts")
}
READS = {
    "gateway": {"KV_accounts", "SPEND"},
    "logger": {"EVENTS", "SPEND", "KV_alerts", "KV_prices"},
    "cache": set[str](),
    "dashboard": {"DEAD", "AUDIT", "KV_accounts", "KV_dashboard", "RATE", "SPEND", "KV_alerts", "KV_prices"},
    "admin": {"EVENTS", "DEAD", "AUDIT", "KV_accounts", "KV_dashboard", "RATE", "SPEND", "KV_alerts", "KV_prices"},
}
CONSUMES = READS | {"logger": {"SPEND", "KV_alerts", "KV_prices"}}  # of EVENTS only the consumer that is there
WRITES = {
    "gateway": {"metrion.events.a", "metrion.events.replay", "metrion.cache.lookup", "metrion.cache.store", "metrion.rate.a", "metrion.limits.alive", "metrion.limits.held", "metrion.limits.quote"},
    "logger": {"metrion.dead.a", "metrion.spend.a", "$KV.alerts.state.a", "$KV.alerts.sent.a", "$KV.alerts.turn.a", "$KV.alerts.tried.a", "$KV.alerts.history.a", "$KV.prices.version.1", "$KV.prices.note.a", "$KV.prices.turn.a", "metrion.audit.prices"},
    "cache": {"$KV.cache.a.b.c", "$KV.cache_leases.a.b.c", "metrion.cache.changed.x"},
    "dashboard": {"$KV.accounts.a", "$KV.dashboard.user.61", "$KV.dashboard.session.61.b", "$KV.dashboard.api-key.a", "$KV.dashboard.api-use.a", "metrion.audit.token", "metrion.audit.prices", "metrion.events.replay", "metrion.cache.purge", "$KV.alerts.rule.a", "$KV.alerts.channel.a", "metrion.alerts.test"},
    "admin": {"$KV.accounts.a", "$KV.dashboard.user.61", "$KV.dashboard.api-key.a", "metrion.audit.token", "metrion.events.a", "metrion.events.replay", "metrion.cache.purge", "$KV.alerts.rule.a", "$KV.alerts.channel.a", "metrion.alerts.test", "metrion.spend.a", "$KV.prices.version.1", "$KV.prices.note.a", "metrion.audit.prices", "$KV.alerts.state.a"},
}  # fmt: skip
ALL_WRITES = set().union(*WRITES.values()) | {
    "metrion.anything",
    "_INBOX_admin.x",
    "_INBOX_gateway.x",
    "$SYS.REQ.SERVER.PING",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        asyncio.run(servers.provision(found))
        yield found


async def refused(server: servers.NatsServer, user: str, subjects: set[str]) -> set[str]:
    """Those of these subjects that a user may not publish to."""
    heard = set[str]()

    async def note(error: Exception) -> None:
        heard.add(str(error).lower())

    client = await nats.connect(server.url(user), error_cb=note, inbox_prefix=f"_INBOX_{user}".encode())
    try:
        for subject in sorted(subjects):
            await client.publish(subject, b"{}")
        await client.flush(timeout=60)
        await asyncio.sleep(0.2)
    finally:
        await client.close()
    return {subject for subject in subjects if any(f'publish to "{subject.lower()}"' in text for text in heard)}


@pytest.mark.parametrize("user", SERVICES)
async def test_no_service_changes_a_stream(server: servers.NatsServer, user: str) -> None:
    subjects = {
        f"$JS.API.STREAM.{verb}.{stream}"
        for verb in ("CREATE", "UPDATE", "DELETE", "RESTORE", "SNAPSHOT", "PEER.REMOVE", "LEADER.STEPDOWN")
        for stream in (*STREAMS, "evil")
    }
    subjects |= {f"$JS.API.STREAM.PURGE.{stream}" for stream in STREAMS if (user, stream) not in PURGES}
    subjects |= {f"$JS.API.STREAM.MSG.DELETE.{one}" for one in STREAMS if (user, one) not in DELETES_MESSAGES}
    assert await refused(server, user, subjects) == subjects


@pytest.mark.parametrize("user", SERVICES)
async def test_no_service_reads_a_stream_of_others(server: servers.NatsServer, user: str) -> None:
    foreign, unconsumed = set(STREAMS) - READS[user], set(STREAMS) - CONSUMES[user]
    subjects = {f"$JS.API.STREAM.MSG.GET.{stream}" for stream in foreign - {"KV_cache"}}
    subjects |= {f"$JS.API.DIRECT.GET.{stream}" for stream in foreign}
    subjects |= {
        f"$JS.API.CONSUMER.{verb}.{stream}{rest}"
        for stream in unconsumed
        for verb, rest in (
            ("CREATE", ""), ("CREATE", ".x"), ("CREATE", ".x.>"), ("DURABLE.CREATE", ".x"), ("DELETE", ".logger"),
            ("MSG.NEXT", ".x"), ("PAUSE", ".logger"), ("RESET", ".logger"), ("UNPIN", ".logger"),
        )
    } - {"$JS.API.CONSUMER.CREATE.KV_cache.x.>"}  # fmt: skip
    if user == "cache":
        subjects -= {"$JS.API.STREAM.MSG.GET.KV_cache"}
    assert await refused(server, user, subjects) == subjects


@pytest.mark.parametrize("user", SERVICES)
async def test_no_service_may_publish_on_subjects_of_another(server: servers.NatsServer, user: str) -> None:
    forbidden = ALL_WRITES - WRITES[user]
    assert await refused(server, user, ALL_WRITES) == forbidden


@pytest.mark.parametrize("user", ["logger", "cache", "gateway", "dashboard"])
async def test_republishing_cannot_be_used_to_write_accounts(server: servers.NatsServer, user: str) -> None:
    """A stream that republishes into the accounts' bucket would write whatever its writer says there."""
    client = await nats_client.connect(server.url(user), service=user)
    config = {"name": "KV_cache", "subjects": ["$KV.cache.>"], "republish": {"src": ">", "dest": "$KV.accounts.>"}}
    with pytest.raises((nats.errors.Error, TimeoutError)):
        await client.request("$JS.API.STREAM.UPDATE.KV_cache", json.dumps(config).encode(), timeout=1)
    await client.close()


async def test_a_gateways_consumer_cannot_deliver_into_the_accounts(server: servers.NatsServer) -> None:
    """It would copy the entry of a token that is there to the hash of one that is not."""
    client = await nats_client.connect(server.url("gateway"), service="gateway")
    config = api.ConsumerConfig(deliver_subject="$KV.accounts.token.evil", ack_policy=api.AckPolicy.NONE)
    with pytest.raises(APIError):
        await client.jetstream().add_consumer("KV_accounts", config)
    await client.close()


async def test_the_job_updates_streams_of_an_earlier_version(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Leases were in memory, which cannot be changed; the events' cap was smaller; old dead letters were dropped."""
    with servers.nats_server(tmp_path_factory.mktemp("old")) as old:
        await servers.provision(old)
        client = await nats_client.connect(old.url("provision"), service="provision")
        js = client.jetstream()
        await js.delete_stream(cache_protocol.LEASES_STREAM)
        await js.add_stream(
            name=cache_protocol.LEASES_STREAM,
            subjects=[cache_protocol.LEASES_SUBJECT + ">"],
            storage=api.StorageType.MEMORY,
            allow_direct=True,
            allow_msg_ttl=True,
        )
        dead = (await js.stream_info(DEAD_STREAM)).config
        dead.discard = api.DiscardPolicy.OLD
        await js.update_stream(dead)
        admin = await nats_client.connect(old.url("admin"), service="admin")
        kept = await admin.jetstream().publish("metrion.events.a", b"kept")
        await streams.provision(js, max_bytes=5 << 30)
        leases = (await js.stream_info(cache_protocol.LEASES_STREAM)).config
        events = await js.stream_info(EVENTS_STREAM)
        assert leases.storage == api.StorageType.FILE
        assert (await js.stream_info(DEAD_STREAM)).config.discard == api.DiscardPolicy.NEW
        assert (events.config.max_bytes, events.state.last_seq) == (5 << 30, kept.seq)
        await client.close()
        await admin.close()


async def test_the_streams_are_there_again_after_the_server_was_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """No service could make them anew."""
    with servers.nats_server(tmp_path_factory.mktemp("killed")) as killed:
        await servers.provision(killed)
        killed.kill()
        killed.start()
        client = await nats_client.connect(killed.url("provision"), service="provision")
        await asyncio.wait_for(
            streams.wait_for(client.jetstream(), "EVENTS", *STREAMS[1:], consumer="logger"), servers.DEADLINE
        )
        await client.close()
