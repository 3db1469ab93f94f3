"""What an operator sees of a gateway's requests: how many, how they ended, whose fault it was, how long they took."""

import prometheus_client

from tests.support.gateway_app import TOKEN, System, plain, request, system

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 14\r\n\r\ndata: [DONE]\n\n"


def shown(gateway: System) -> dict[str, float]:
    """The samples as scraped, by name and labels."""
    text = prometheus_client.generate_latest(gateway.proxy._metrics.registry()).decode()
    return {
        name: float(value) for line in text.splitlines() if line[0] != "#" for name, _, value in [line.rpartition(" ")]
    }


def requests(provider: str, status: int, outcome: str, source: str) -> str:
    labels = f'outcome="{outcome}",provider="{provider}",source="{source}",status="{status}"'
    return f"metrion_gateway_requests_total{{{labels}}}"


async def test_each_request_counts_once_with_its_status_and_who_ended_it() -> None:
    async with system() as gateway:
        await gateway.send(request())
        gateway.upstream.respond = plain(BUSY)
        await gateway.send(request())
        await gateway.send(request())
        await gateway.send(request(path="/api/proxy/mistral/v1/chat/completions"))  # dead
        await gateway.send(request(headers=b"x-metrion-cache: nonsense\r\n"))
        await gateway.send(request(auth=b"Authorization: Bearer nobody\r\n"))
        found = shown(gateway)
    assert found[requests("openai", 200, "complete", "provider")] == 1
    assert found[requests("openai", 429, "complete", "provider")] == 2
    assert found[requests("mistral", 502, "upstream_error", "provider")] == 1
    assert found[requests("openai", 400, "complete", "gateway")] == 1
    assert sum(value for name, value in found.items() if name.startswith("metrion_gateway_requests_total")) == 5
    assert sum(value for name, value in found.items() if name.startswith("metrion_gateway_refusals_total")) == 1


async def test_latency_tells_streams_from_whole_responses_and_leaves_failures_out_of_the_first_byte() -> None:
    async with system() as gateway:
        await gateway.send(request())
        gateway.upstream.respond = plain(STREAM)
        await gateway.send(request(body=b'{"model":"gpt-4o","stream":true}'))
        gateway.upstream.respond = plain(BUSY)
        await gateway.send(request())
        await gateway.send(request(headers=b"x-metrion-cache: nonsense\r\n"))
        found = shown(gateway)
    assert found['metrion_gateway_request_seconds_count{kind="whole",provider="openai"}'] == 2
    assert found['metrion_gateway_request_seconds_count{kind="stream",provider="openai"}'] == 1
    assert found['metrion_gateway_first_byte_seconds_count{kind="whole",provider="openai"}'] == 1
    assert found['metrion_gateway_first_byte_seconds_bucket{kind="whole",le="+Inf",provider="openai"}'] == 1
    assert found['metrion_gateway_first_byte_seconds_bucket{kind="whole",le="10.0",provider="openai"}'] == 1
    assert found['metrion_gateway_request_seconds_sum{kind="whole",provider="openai"}'] > 0


async def test_client_input_never_becomes_a_metric_label() -> None:
    marked = "mark-9f31"
    async with system() as gateway:
        await gateway.send(
            request(
                path=f"/api/proxy/openai/v1/{marked}",
                body=f'{{"model":"{marked}"}}'.encode(),
                headers=f"x-metrion-user: {marked}\r\nx-metrion-meta-team: {marked}\r\n".encode(),
            )
        )
        await gateway.send(request(path=f"/api/proxy/{marked}/v1/chat/completions"))
        await gateway.send(request(auth=f"Authorization: Bearer {marked}\r\n".encode()))
        found = shown(gateway)
    assert found[requests("openai", 200, "complete", "provider")] == 1
    assert not [name for name in found if marked in name or TOKEN in name]
