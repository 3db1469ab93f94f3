"""A failure within a response breaks the connection off: a part must not look like the whole."""

from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from services.dashboard.api import problem


@pytest.mark.parametrize("failure", [RuntimeError("defect"), web.HTTPServiceUnavailable(text="gone")])
async def test_a_failure_within_a_response_aborts_it(failure: Exception) -> None:
    transport = Mock()
    request = make_mocked_request("GET", "/api/v1/requests.ndjson", transport=transport, writer=Mock(output_size=0))

    async def handler(within: web.Request) -> web.StreamResponse:
        within.writer.output_size = 100
        raise failure

    with pytest.raises(ConnectionResetError):
        await problem.answer_with_problems(request, handler)
    transport.abort.assert_called_once_with()


async def test_a_failure_before_the_response_is_a_problem() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise RuntimeError("defect")

    request = make_mocked_request("GET", "/api/v1/usage", writer=Mock(output_size=0))
    response = await problem.answer_with_problems(request, handler)
    assert (response.status, response.content_type) == (500, problem.CONTENT_TYPE)
