"""Upstreams of an operator's own: a vLLM-like server by its SDK, ways out through a proxy, and an own authority."""

import asyncio
import base64
import contextlib
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.logger import rows
from shared.pricing.table import Table
from tests.support import websocket_peers
from tests.support.gateway_app import TOKEN, request, system

if TYPE_CHECKING:
    import openai  # takes seconds, and every worker collects this module

PROVIDERS = """
[[provider]]
name = "vllm"
upstream = "{url}"
include_usage = {include_usage}
key_variable = "VLLM_API_KEY"

[[provider]]
name = "ollama"
upstream = "{url}"
key_header = ""

[[provider]]
name = "azure"
upstream = "{url}"
key_header = "api-key"
key_variable = "VLLM_API_KEY"
version = ""

[[provider]]
name = "openrouter"
upstream = "{url}"
key_variable = "VLLM_API_KEY"
include_usage = true
stated_cost = true
"""
PRICES = """
[[price]]
provider = "vllm"
model = "qwen3-*"
unit = "input_mtok"
price = "0.10"
source = "our own machines"
[[price]]
provider = "vllm"
model = "qwen3-*"
unit = "output_mtok"
price = "0.40"
source = "our own machines"
"""


class Vllm:
    """What vLLM does: usage in streams only when asked, reasoning_content, its own error shape, keys if it likes."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    async def chat(self, asked: web.Request) -> web.StreamResponse:
        body = await asked.json()
        self.seen.append({"headers": dict(asked.headers), "body": body, "path": asked.path_qs})
        if body["model"] == "missing":
            error = {
                "object": "error",
                "message": "The model `missing` does not exist.",
                "type": "NotFoundError",
                "code": 404,
            }
            return web.json_response(error, status=404)
        usage = {"prompt_tokens": 11, "total_tokens": 14, "completion_tokens": 3, "cost": 0.00014}
        head = {"id": "chatcmpl-7", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "Hallo", "reasoning_content": None}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "stop_reason": None}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(asked)
        for delta, finish in (({"role": "assistant", "content": ""}, None), ({"content": "Hallo"}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            await self._event(response, {**head, "object": "chat.completion.chunk", "choices": [choice]})
        if (body.get("stream_options") or {}).get("include_usage"):
            await self._event(response, {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _event(self, answer: web.StreamResponse, data: dict[str, Any]) -> None:
        await answer.write(b"data: " + json.dumps(data).encode() + b"\n\n")


@contextlib.asynccontextmanager
async def vllm(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Vllm, str]]:
    found, app = Vllm(), web.Application()
    app.router.add_post("/{path:.*}", found.chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield found, f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def gateway(folder: Path, url: str, *, include_usage: bool = True, **changes: Any) -> AsyncIterator[Any]:
    file = folder / "providers.toml"
    file.write_text(PROVIDERS.format(url=url, include_usage=str(include_usage).lower()))
    environ = {"VLLM_API_KEY": "vllm-key-of-the-operator"}
    async with system(providers_file=str(file), environ=environ, **changes) as found:
        yield found


def client(port: int, name: str = "vllm") -> "openai.AsyncOpenAI":
    import openai

    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/api/proxy/{name}/v1", api_key=TOKEN, max_retries=0)


def recorded_row(events: Any, folder: Path) -> rows.ResponseRow:
    file = folder / "prices.toml"
    file.write_text(PRICES)
    return rows.response_row(events.last, Table.load(file))


ASK: dict[str, Any] = {"model": "qwen3-32b", "messages": [{"role": "user", "content": "Sag hallo"}]}


async def test_a_vllm_is_called_by_the_sdk_and_recorded_at_the_operators_prices(tmp_path: Path) -> None:
    async with vllm() as (server, url), gateway(tmp_path, url) as metrion, client(metrion.port) as sdk:
        response = await sdk.chat.completions.create(**ASK)
        assert response.choices[0].message.content == "Hallo"
        row = recorded_row(metrion.events, tmp_path)
        assert (row.provider, row.model, row.input_tokens, row.output_tokens) == ("vllm", "qwen3-32b", 11, 3)
        assert str(row.cost) == "0.000002300000"  # 11 x 0.10 + 3 x 0.40, a million tokens
        assert server.seen[0]["headers"]["Authorization"] == "Bearer vllm-key-of-the-operator"
        assert not any(name.lower().startswith("x-metrion") for name in server.seen[0]["headers"])


async def test_usage_of_a_vllm_stream_is_asked_for_and_taken_out_again_when_the_operator_says_so(
    tmp_path: Path,
) -> None:
    async with vllm() as (server, url):
        for include_usage in (True, False):
            async with gateway(tmp_path, url, include_usage=include_usage) as metrion, client(metrion.port) as sdk:
                chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True)]
                assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Hallo", None]
                row = recorded_row(metrion.events, tmp_path)
                asked = "stream_options" in server.seen[-1]["body"]
                assert (asked, row.usage_source) == ((True, "reported") if include_usage else (False, "estimated"))
                assert row.cost_source == ("computed" if include_usage else "estimated")


async def test_an_error_of_an_own_provider_raises_the_sdks_exception_and_is_recorded(tmp_path: Path) -> None:
    import openai

    async with vllm() as (_, url), gateway(tmp_path, url) as metrion, client(metrion.port) as sdk:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await sdk.chat.completions.create(**{**ASK, "model": "missing"})
        row = recorded_row(metrion.events, tmp_path)
        assert (row.status, row.error_type, row.cost) == (404, "NotFoundError", 0)


async def test_an_upstream_without_keys_gets_none(tmp_path: Path) -> None:
    async with vllm() as (server, url), gateway(tmp_path, url) as metrion, client(metrion.port, "ollama") as sdk:
        await sdk.chat.completions.create(**ASK)
        sent = {name.lower() for name in server.seen[0]["headers"]}
        assert not sent & {"authorization", "api-key", "x-api-key"}
        assert metrion.events.last.status == 200


async def test_azures_own_sdk_reaches_a_deployment_with_its_own_header(tmp_path: Path) -> None:
    import openai

    async with vllm() as (server, url), gateway(tmp_path, url) as metrion:
        endpoint = f"http://127.0.0.1:{metrion.port}/api/proxy/azure"
        async with openai.AsyncAzureOpenAI(azure_endpoint=endpoint, api_key=TOKEN, api_version="2026-06-01") as sdk:
            await sdk.chat.completions.create(**{**ASK, "model": "gpt-4o-eu"})
        seen = server.seen[0]
        assert seen["path"] == "/openai/deployments/gpt-4o-eu/chat/completions?api-version=2026-06-01"
        assert seen["headers"]["api-key"] == "vllm-key-of-the-operator" and "Authorization" not in seen["headers"]
        envelope = metrion.events.last.envelope
        assert envelope.endpoint == "POST /openai/deployments/{model}/chat/completions"
        assert (envelope.provider, envelope.model) == ("azure", "gpt-4o-eu")
        file = tmp_path / "prices.toml"
        file.write_text('[[alias]]\nprovider = "azure"\nmodel = "gpt-4o-eu"\nmeans = "gpt-4o"\nsource = "x"\n')
        row = rows.response_row(metrion.events.last, Table.load(file))
        assert row.cost == Decimal("0.0000575")  # (11*2.50 + 3*10) / 1e6


@pytest.mark.parametrize("stream", [False, True])
async def test_the_charge_that_a_router_states_is_recorded(tmp_path: Path, stream: bool) -> None:
    async with vllm() as (_, url), gateway(tmp_path, url) as metrion, client(metrion.port, "openrouter") as sdk:
        response: Any = await sdk.chat.completions.create(**ASK, stream=stream)
        if stream:
            _ = [chunk async for chunk in response]
        row = recorded_row(metrion.events, tmp_path)
        assert (row.cost, row.cost_source) == (Decimal("0.00014"), "provider")


async def test_unknown_provider_name_is_a_404(tmp_path: Path) -> None:
    async with vllm() as (_, url), gateway(tmp_path, url) as metrion:
        response = await metrion.send(request(path="/api/proxy/vlm/v1/chat/completions"))
        assert response.startswith(b"HTTP/1.1 404")


class ForwardProxy:
    """An HTTP proxy that wants a password, tunnels CONNECT and forwards absolute targets; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            wanted = b"Proxy-Authorization: Basic " + base64.b64encode(b"me:secret")
            if wanted not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            else:
                method, target, _ = head.split(b" ", 2)
                host = target if method == b"CONNECT" else target.split(b"/")[2]
                name, _, port = host.decode().partition(":")
                name = "127.0.0.1" if name.endswith(".test") else name
                up_reader, up_writer = await asyncio.open_connection(name, int(port))
                if method == b"CONNECT":
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    up_writer.write(head)
                await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def forward_proxy() -> AsyncIterator[tuple[ForwardProxy, str]]:
    found = ForwardProxy()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    try:
        yield found, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for upstream.test and 127.0.0.1 that vouches for itself: (its PEM file, a server's context)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our own authority")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("upstream.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "authority.pem", folder / "private.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, private)
    return pem, context


async def test_an_upstream_under_an_own_authority_is_trusted_only_with_it(tmp_path: Path) -> None:
    import openai

    pem, context = authority(tmp_path)
    async with vllm(context) as (server, url):
        async with gateway(tmp_path, url, ca_file=str(pem)) as metrion, client(metrion.port) as sdk:
            await sdk.chat.completions.create(**ASK)
        async with gateway(tmp_path, url) as metrion, client(metrion.port) as sdk:
            with pytest.raises(openai.InternalServerError):
                await sdk.chat.completions.create(**ASK)
            assert metrion.events.last.status == 502
        assert len(server.seen) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_calls_leave_through_the_outbound_proxy_streams_included(tmp_path: Path, scheme: str) -> None:
    pem, context = authority(tmp_path)
    async with forward_proxy() as (proxy, place), vllm(context if scheme == "https" else None) as (server, url):
        named = url.replace("127.0.0.1", "upstream.test")  # known to the proxy alone
        settings: dict[str, Any] = {"outbound_proxy": f"http://me:secret@{place}", "ca_file": str(pem)}
        async with gateway(tmp_path, named, **settings) as metrion, client(metrion.port) as sdk:
            await sdk.chat.completions.create(**ASK)
            chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True)]
            assert len(chunks) == 3 and metrion.events.last.evidence.picks
        assert len(server.seen) == 2 and proxy.asked
        assert all(b"upstream.test" in head.split(b"\r\n", 1)[0] for head in proxy.asked)
        for seen in server.seen:
            assert "Proxy-Authorization" not in seen["headers"] or scheme == "http", "a tunnel hides it"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_websockets_leave_through_the_outbound_proxy(tmp_path: Path, scheme: str) -> None:
    pem, context = authority(tmp_path)
    async with (
        forward_proxy() as (proxy, place),
        websocket_peers.provider(context if scheme == "https" else None) as upstream,
        gateway(
            tmp_path,
            f"{scheme}://upstream.test:{upstream.port}",
            outbound_proxy=f"http://me:secret@{place}",
            ca_file=str(pem),
            websockets=("vllm",),
        ) as metrion,
    ):
        near = await websocket_peers.connect(metrion.port, "/api/proxy/vllm/v1/responses")
        assert near.head.startswith(b"HTTP/1.1 101 ")
        far = await upstream.sockets.get()
        for sender, receiver, masked in ((near, far, True), (far, near, False)):
            frames = websocket_peers.text({"type": "response.create", "model": "m"}, masked=masked)
            await sender.send(frames)
            assert await receiver.exactly(len(frames)) == frames
        assert proxy.asked
        near.leave()
        far.leave()


async def test_a_proxy_that_refuses_or_is_dead_is_a_502_that_names_no_password(tmp_path: Path) -> None:
    async with forward_proxy() as (_, place), vllm() as (server, url):
        named = url.replace("127.0.0.1", "upstream.test").replace("http:", "https:")
        for outbound in (f"http://me:wrong@{place}", "http://me:wrong@127.0.0.1:1"):
            async with gateway(tmp_path, named, outbound_proxy=outbound) as metrion:
                response = await metrion.send(request(path="/api/proxy/vllm/v1/chat/completions"))
                assert response.startswith(b"HTTP/1.1 502") and b"wrong" not in response
                assert metrion.events.last.status == 502 and "wrong" not in metrion.events.last.error_message
        assert not server.seen
