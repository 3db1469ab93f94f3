"""A request whose body breaks off or is wrongly framed is answered at once and recorded as what it was."""

import asyncio
import logging

import pytest

from shared.events import ResponseEvent
from tests.support.gateway_app import System, request, system

CHUNKED = b"Transfer-Encoding: chunked\r\n"
SPEECH = "/api/proxy/openai/v1/audio/transcriptions"
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b\r\nContent-Disposition: form-data; '
)
FORM += b'name="file"; filename="a.wav"\r\n\r\n' + b"R" * 100_000
JSON_HEAD = request(body=b"", length=False, headers=CHUNKED)
FORM_HEAD = request(path=SPEECH, body=b"", length=False, headers=CHUNKED, kind=b"multipart/form-data; boundary=b")
FORM_BEGUN = FORM_HEAD + b"%x\r\n%s\r\n" % (len(FORM), FORM)
BROKEN = {"JSON": JSON_HEAD, "a form": FORM_BEGUN}
LEFT = {
    "JSON": request(body=b'{"model":').replace(b"Length: 9", b"Length: 90"),
    "JSON of unknown length": JSON_HEAD,
    "a form": FORM_BEGUN,
}


async def last_row(gateway: System) -> ResponseEvent:
    async with asyncio.timeout(60):
        while not (gateway.events and isinstance(gateway.events[-1], ResponseEvent)):
            await asyncio.sleep(0.01)
    return gateway.events.last


async def head_is_read(gateway: System) -> None:
    async with asyncio.timeout(60):
        while not gateway.proxy.active:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("begun", BROKEN.values(), ids=BROKEN)
async def test_a_body_that_turns_out_wrongly_framed_is_a_400_at_once(
    begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with system(body_timeout=3600) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(begun)
        await head_is_read(gateway)
        writer.write(b"zz\r\n")
        async with asyncio.timeout(60):
            response = await reader.read()
        writer.close()
        assert response.startswith(b"HTTP/1.1 400"), response
        assert b"broken_body" in response
        assert (await last_row(gateway)).error_type == "broken_body"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("begun", LEFT.values(), ids=LEFT)
async def test_a_client_that_leaves_while_it_sends_is_a_row_and_no_failure(
    begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with system() as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(begun)
        await head_is_read(gateway)
        writer.transport.abort()
        row = await last_row(gateway)
        assert (row.status, row.outcome, row.error_type) == (499, "client_closed", "client_closed")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
