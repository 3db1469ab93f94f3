"""Reading what a stream holds, against a real nats-server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from shared import accounts_admin, nats_client, stream_reader
from tests.support import servers

STREAM = "KV_accounts"


@pytest.fixture
async def js(tmp_path: Path) -> AsyncIterator[JetStreamContext]:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        client = await nats_client.connect(server.url("admin"), service="cli")
        yield client.jetstream()
        await client.close()


async def test_a_deleted_consumer_is_not_reported_as_a_missing_stream(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts_admin.ensure_account(js, "default")
    whole = await stream_reader.messages(js, STREAM, "$KV.accounts.>")
    info, gone = JetStreamContext.PushSubscription.consumer_info, list[str]()

    async def deleted_once(self: JetStreamContext.PushSubscription) -> api.ConsumerInfo:
        if not gone:
            gone.append((await info(self)).name)
            await js.delete_consumer(STREAM, gone[0])
        return await info(self)

    monkeypatch.setattr(JetStreamContext.PushSubscription, "consumer_info", deleted_once)
    found = await stream_reader.messages(js, STREAM, "$KV.accounts.>")
    assert gone and [message.data for message in found] == [message.data for message in whole] != []


async def test_missing_stream_raises_its_own_error(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path) as empty:
        client = await nats_client.connect(empty.url("admin"), service="cli")
        with pytest.raises(NotFoundError):
            await stream_reader.messages(client.jetstream(), STREAM, "$KV.accounts.>")
        await client.close()
