"""Waits for JetStream, made long where no limit is stated."""

from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext

from shared import stream_reader

SECONDS = 30.0  # not the suite's deadline: a response that a killed server owes is waited for as long

_jetstream = Client.jetstream


def _patient(client: Client, **options: Any) -> JetStreamContext:
    return _jetstream(client, **{"timeout": SECONDS} | options)


def wait_long() -> None:
    """Let this process wait for a response of JetStream as long as a busy machine takes, instead of five seconds."""
    setattr(Client, "jetstream", _patient)  # noqa: B010 — mypy lets no method be assigned
    stream_reader.NEXT_SECONDS = SECONDS
