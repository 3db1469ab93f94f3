"""Requests that a token may not make cost the others nothing: their rows are small and few, and what has none is counted."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.gateway.outbox.outbox import Outbox
from shared import events
from shared.accounts_model import Token
from shared.events import ResponseEvent
from tests.support.gateway_app import TOKEN, System, request, system

OTHER = "sk-metrion-" + "1" * 32
METADATA = b"".join(b"x-metrion-meta-k%d: %s\r\n" % (n, b"v" * 250) for n in range(16))
REFUSED = request(body=b'{"model":"gpt-5"}', headers=METADATA)


def confine(gateway: System) -> None:
    gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("gpt-4o",))
    gateway.tokens[OTHER] = Token("other", "ci", datetime.now(UTC))


async def refuse(gateway: System, times: int) -> None:
    for _ in range(times):
        assert (await gateway.send(REFUSED)).startswith(b"HTTP/1.1 403")


async def test_a_refused_requests_row_holds_a_bounded_part_of_its_metadata() -> None:
    async with system() as gateway:
        confine(gateway)
        await refuse(gateway, 1)
        (event,) = gateway.events
        assert len(event.envelope.metadata) == 1  # type: ignore[union-attr]
        assert len(events.encode(event)) < 1000
        await gateway.send(request(body=b'{"model":"gpt-4o"}', headers=METADATA))
        assert len(gateway.events.last.envelope.metadata) == 16  # of what is served, all


async def test_refusals_beyond_the_rate_are_counted_and_the_next_row_says_how_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "services.gateway")
    async with system(refusal_rows=3) as gateway:
        confine(gateway)
        await refuse(gateway, 10)
        assert len(gateway.events) == 3
        metrics = gateway.proxy._metrics
        assert metrics.omitted == {"model_not_allowed": 7}
        assert sum(metrics.requests.values()) == 3
        sequences = [event.origin.sequence for event in gateway.events if isinstance(event, ResponseEvent)]
        assert sequences == [1, 2, 3]  # what has no row has no number either: nothing seems lost
        gateway.proxy.refusals.report()
        assert "token ci of account acme: 7 refusals have no row" in caplog.text
        monkeypatch.setattr("services.gateway.refusal_rows._WINDOW_SECONDS", 0.0)
        await refuse(gateway, 1)
        assert gateway.events.last.error_message.endswith("(7 earlier refusals of this token have no row.)")


async def test_one_tokens_refusals_leave_anothers_rows_alone() -> None:
    async with system(refusal_rows=3) as gateway:
        confine(gateway)
        await refuse(gateway, 10)
        auth = b"Authorization: Bearer " + OTHER.encode() + b"\r\n"
        await gateway.send(request(body=b'{"model":"gpt-5"}', auth=auth))
        assert (gateway.events.last.envelope.account, gateway.events.last.status) == ("other", 200)
        await gateway.send(request(auth=auth, headers=b"x-metrion-cache: nonsense\r\n"))
        assert (gateway.events.last.envelope.account, gateway.events.last.status) == ("other", 400)


async def test_a_providers_failures_are_all_recorded_whatever_their_number() -> None:
    async with system(refusal_rows=1) as gateway:
        for _ in range(5):
            await gateway.send(request(path="/api/proxy/mistral/v1/chat/completions"))  # dead
        assert [event.status for event in gateway.events if isinstance(event, ResponseEvent)] == [502] * 5


async def test_a_flood_of_refusals_and_a_hog_leave_another_account_recorded_to_the_last_request(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "0", gateway="g", max_bytes=1 << 20)
    async with system(refusal_rows=1_000_000) as gateway:
        confine(gateway)
        gateway.proxy.admission._outbox = outbox  # NATS is away: nothing is shipped
        await refuse(gateway, 300)
        allowed = request(body=b'{"model":"gpt-4o"}', headers=METADATA)
        for _ in range(120):
            assert (await gateway.send(allowed)).startswith(b"HTTP/1.1 200")
        assert outbox.dropped > 0
        before = outbox.appended
        auth = b"Authorization: Bearer " + OTHER.encode() + b"\r\n"
        for _ in range(20):
            assert (await gateway.send(request(auth=auth))).startswith(b"HTTP/1.1 200")
        assert outbox.appended == before + 40
    outbox.close()


async def test_full_outbox_share_refuses_only_requests_of_that_account(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path / "0", gateway="g", max_bytes=1 << 20)
    async with system() as gateway:
        confine(gateway)
        gateway.proxy.admission._outbox = outbox
        gateway.proxy.admission.full = outbox.is_full_for
        allowed = request(body=b'{"model":"gpt-4o"}', headers=METADATA)
        for _ in range(200):
            response = await gateway.send(allowed)
            if not response.startswith(b"HTTP/1.1 200"):
                break
        assert response.startswith(b"HTTP/1.1 503") and b"outbox_full" in response
        auth = b"Authorization: Bearer " + OTHER.encode() + b"\r\n"
        assert (await gateway.send(request(auth=auth))).startswith(b"HTTP/1.1 200")
    outbox.close()
