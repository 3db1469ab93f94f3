"""Soak test: unusual input to the readers and a whole gateway, as long as wanted.

Bytes pass untouched in both directions, a row stands for each request, no line of the log is an error, the gateway
answers afterwards, and a token that is confined to some models never reaches a provider with another one.
"""

import argparse
import asyncio
import collections
import logging
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from services.gateway.parsing import sse
from services.gateway.request import headers, params, paths
from services.gateway.request.errors import Refusal
from services.gateway.request.multipart import Form
from services.gateway.usage.tap import open_tap
from services.gateway.usage.usage_remover import Remover
from shared import events
from shared.accounts_model import Token
from tests.support import gateway_app, interrupts, strategies
from tests.support.strategies import FormSample, HeaderSample, JsonSample, PathSample, SseSample, TextSample

CONFINED = "sk-metrion-" + "c" * 32
ALLOWED = "allowed-model"
USAGE = '{"model":"gpt-4o","choices":[{"finish_reason":"stop","index":0}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
ENDPOINTS = ("/api/proxy/openai/v1/chat/completions", "/api/proxy/openai/v1/responses", "/api/proxy/v1/messages")
counts: collections.Counter[str] = collections.Counter()


class Errors(logging.Handler):
    """Keeps what was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(f"{record.getMessage()} {record.exc_text or record.exc_info or ''}")


class Gateway:
    """A gateway in this process that lives through many examples."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._opened = gateway_app.system(max_body_bytes=4 << 20, include_usage=False)
        self.system = self.loop.run_until_complete(self._opened.__aenter__())
        self.system.tokens[CONFINED] = Token("acme", "confined", datetime.now(UTC), models=("allowed-*",))
        self.errors = Errors()
        logging.getLogger().addHandler(self.errors)

    def close(self) -> None:
        self.loop.run_until_complete(self._opened.__aexit__(None, None, None))
        self.loop.close()

    def ask(self, message: bytes, response: bytes = b"") -> bytes:
        """Send a request as it is; the response's bytes. `response`: what the provider sends."""
        self.system.upstream.requests.clear()
        self.system.events.clear()
        self.errors.seen.clear()
        self.system.upstream.respond = gateway_app.plain(response or document(b"{}"))
        received = self.loop.run_until_complete(self.system.send(message, seconds=60))
        assert not self.errors.seen, self.errors.seen[0]
        return received

    def rows(self) -> list[events.ResponseEvent]:
        self.loop.run_until_complete(asyncio.sleep(0))
        return [event for event in self.system.events if isinstance(event, events.ResponseEvent)]

    def is_alive(self) -> bool:
        return b" 200 " in self.ask(gateway_app.request(body=b'{"model":"gpt-4o"}')).split(b"\r\n", 1)[0] + b" "


def document(body: bytes, kind: str = "application/json", encoding: str = "") -> bytes:
    """A provider's response."""
    more = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def encoded(sample: JsonSample) -> bytes:
    return f"Content-Encoding: {sample.content_encoding}\r\n".encode() if sample.content_encoding else b""


def message(sample: JsonSample, path: str, *, token: str = gateway_app.TOKEN) -> bytes:
    auth = f"Authorization: Bearer {token}\r\n".encode()
    kind = sample.content_type.encode() or b"application/json"
    return gateway_app.request(path=path, body=sample.body, headers=encoded(sample), auth=auth, kind=kind)


@given(strategies.json_samples())
def read_json(sample: JsonSample) -> None:
    if not sample.content_encoding:
        found = params.model(params.read(sample.body))
        assert found == sample.fields["model"], (found, sample.traits)


@given(strategies.sse_samples(st.just(USAGE) | st.text(max_size=20).map(lambda text: " ".join(text.split()) or "x")))
def read_stream(sample: SseSample) -> None:
    expected = [event.data.encode() for event in sample.events]
    found = sse.datas(sample.body)
    # A reader may take an event that was not finished, and need not report an event without text.
    assert [data for data in found if data][: len(expected)] == [data for data in expected if data], (found, expected)
    tap = open_tap(200, "text/event-stream", "", events.OPENAI_CHAT)
    remover = Remover()
    for chunk in sample.chunks:
        tap.feed(chunk)
        remover.feed(chunk)
    remover.end()
    tap.evidence()
    assert tap.usage or USAGE.encode() not in expected


@given(strategies.form_samples(), st.integers(1, 5000))
def read_form(sample: FormSample, size: int) -> None:
    form = Form(sample.content_type)
    for start in range(0, len(sample.body), size):
        form.feed(sample.body[start : start + size])
    assert not form.model or form.model in sample.fields["model"], (form.model, sample.fields)
    counts["form: model not read"] += not form.model
    certain = form.closed and not form.doubt  # as a confined token needs it
    assert not certain or len(set(sample.fields["model"])) == 1, "certain although servers may differ"


@given(strategies.path_samples("/api/proxy/openai/v1/chat/completions"))
def read_path(sample: PathSample) -> None:
    try:
        found = paths.canonical(sample.raw)
    except Refusal:
        assert not sample.same, "refused although it is the same path"
        return
    assert found == sample.plain if sample.same else "/../" not in unquote(found)


@given(strategies.header_texts())
def read_name(sample: TextSample) -> None:
    value = sample.wire.decode("utf-8", "surrogateescape")
    try:
        found = headers.read_metrion({"user": [value]}, "").requester
    except Refusal:
        counts[f"requester refused: {sample.form}"] += 1
        return
    counts[f"requester read otherwise: {sample.form}"] += found != sample.text


def on_gateway(gateway: Gateway) -> list[Callable[[], None]]:
    """The examples that need a gateway."""

    @given(strategies.json_samples(), st.sampled_from(ENDPOINTS))
    def request_body(sample: JsonSample, path: str) -> None:
        received = gateway.ask(message(sample, path))
        (row,) = gateway.rows()
        if not gateway.system.upstream.requests:
            counts[f"refused: {received.split(b' ', 2)[1].decode()}"] += 1
            return
        assert gateway.system.upstream.requests[-1][1] == sample.body, "the request's bytes were changed"
        model = row.envelope.model
        assert model == "" or model in sample.values["model"], (model, sample.values)
        counts[f"model not read: {sample.content_type or 'no type'} {sample.content_encoding}"] += not model

    @given(
        strategies.json_samples(st.sampled_from((ALLOWED, "other-model")).map(lambda name: {"model": name})),
        st.sampled_from(ENDPOINTS),
    )
    def confined_token(sample: JsonSample, path: str) -> None:
        gateway.ask(message(sample, path, token=CONFINED))
        if gateway.system.upstream.requests:
            assert set(sample.values["model"]) == {ALLOWED}, "a confined token got past its models"
        gateway.rows()

    @given(strategies.form_samples(st.sampled_from((ALLOWED, "other-model")).map(lambda name: {"model": name})))
    def confined_form(sample: FormSample) -> None:
        auth = f"Authorization: Bearer {CONFINED}\r\n".encode()
        gateway.ask(
            gateway_app.request(
                path="/api/proxy/openai/v1/audio/transcriptions",
                body=sample.body,
                auth=auth,
                kind=sample.content_type.encode(),
            )
        )
        if gateway.system.upstream.requests:
            assert set(sample.fields["model"]) == {ALLOWED}, "a confined token got past its models"

    @given(strategies.path_samples("/api/proxy/openai/v1/chat/completions"))
    def path(sample: PathSample) -> None:
        if not sample.raw.isascii() or " " in sample.raw:
            return
        gateway.ask(gateway_app.request(path=sample.raw))
        for row in gateway.rows() if gateway.system.upstream.requests else []:
            assert row.envelope.model == "gpt-4o"

    @given(strategies.header_samples())
    def request_headers(sample: HeaderSample) -> None:
        gateway.ask(gateway_app.request(headers=sample.wire))
        if gateway.system.upstream.requests:
            lines = gateway.system.upstream.requests[-1][0].lower().split(b"\r\n")[1:]
            forwarded = {line.split(b":")[0].decode("latin-1") for line in lines}
            assert not forwarded & (sample.dropped - {"connection", "keep-alive"}), forwarded
            assert sample.passed - sample.dropped <= forwarded, sample.passed - forwarded
            assert len(gateway.rows()) == 1
        else:
            counts["headers refused"] += 1

    @given(
        strategies.json_samples(
            st.just({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}), without={"content_type"}
        ),
        st.sampled_from(ENDPOINTS),
    )
    def response_body(sample: JsonSample, path: str) -> None:
        received = gateway.ask(gateway_app.request(path=path), document(sample.body, encoding=sample.content_encoding))
        assert received.endswith(b"\r\n\r\n" + sample.body), "the response's bytes were changed"
        assert len(gateway.rows()) == 1

    @given(strategies.sse_samples(st.just(USAGE) | strategies.model_names), st.sampled_from(ENDPOINTS))
    def response_stream(sample: SseSample, path: str) -> None:
        received = gateway.ask(gateway_app.request(path=path), document(sample.body, "text/event-stream"))
        assert received.endswith(b"\r\n\r\n" + sample.body), "the stream's bytes were changed"
        assert len(gateway.rows()) == 1

    return [request_body, confined_token, confined_form, path, request_headers, response_body, response_stream]  # fmt: skip


def shortened(report: str, *, limit: int = 300) -> str:
    """The last lines of a report, long ones cut in their middle: a sample may be of megabytes."""
    lines = [line if len(line) <= limit else f"{line[:200]} … {line[-100:]}" for line in report.splitlines()]
    return "\n".join(lines[-25:])


def main(*, minutes: float, examples: int) -> int:
    """Run all checks in rounds until the time is over; the number of those that failed."""
    gateway, until = Gateway(), time.monotonic() + minutes * 60
    limits = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    readers = (read_json, read_stream, read_form, read_path, read_name)
    checks = [limits(check) for check in (*readers, *on_gateway(gateway))]
    failed: set[str] = set()
    rounds = 0
    while checks and time.monotonic() < until:
        rounds += 1
        for check in list(checks):
            try:
                seed(time.time_ns())(check)()
                assert gateway.is_alive(), "the gateway no longer answers"
            except Exception:
                failed.add(check.__name__)
                checks.remove(check)  # its smallest example is printed; the next run finds the next one
                print(f"--- {check.__name__} failed\n{shortened(traceback.format_exc())}", flush=True)
        print(f"round {rounds} of {examples} examples each: {len(failed)} checks failed so far", flush=True)
    gateway.close()
    for name in interrupts.COMMANDS:
        if found := interrupts.faults(name, Path("/nonexistent"), moments=40):
            failed.add(f"interrupts of {name}")
            print("\n".join(found))
    print("\n".join(f"{count:8} {what}" for what, count in sorted(counts.items()) if count))
    return len(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--examples", type=int, default=200, help="of each check and round")
    options = parser.parse_args()
    sys.exit(1 if main(minutes=options.minutes, examples=options.examples) else 0)
