"""Which format a client gets, and when it has the response already."""

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from services.dashboard.api import formats

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"


class Row(msgspec.Struct):
    name: str


def request(*headers: tuple[str, str]) -> web.Request:
    return make_mocked_request("GET", "/api/v1/usage", headers=CIMultiDict(headers))


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ((), JSON),
        (("",), JSON),
        (("*/*",), JSON),
        (("text/html,*/*;q=0.8",), JSON),
        (("application/json;q=0, */*",), NDJSON),
        (("*/*, application/json;q=0, application/*;q=0",), CSV),
        (("text/html", "text/csv"), CSV),
        (("TEXT/CSV; header=present",), CSV),
        (("application/json;q=0.4, text/*;q=0.5",), CSV),
        (("application/jsonl",), NDJSON),
    ],
)
def test_the_format_is_the_one_that_the_client_likes_most(accept: tuple[str, ...], media_type: str) -> None:
    assert formats.wanted(request(*(("Accept", one) for one in accept))).value == media_type


@pytest.mark.parametrize(
    "accept", ["text/html", "*/*;q=0", "application/json;q=nan", "application/json;q=-1", "text/csv;q=0, text/*;q=0"]
)
def test_a_client_that_accepts_none_of_them_is_told_which_there_are(accept: str) -> None:
    with pytest.raises(web.HTTPNotAcceptable, match="Not Acceptable") as raised:
        formats.wanted(request(("Accept", accept)))
    assert all(one in str(raised.value.text) for one in (JSON, NDJSON, CSV))


def test_a_known_response_is_not_sent_again_in_whichever_form_its_tag_comes_back() -> None:
    document = Row("x")
    tag = formats.respond(request(), document).headers["ETag"]
    forms = ((tag,), (f"W/{tag}",), (f'"y", {tag}',), ('"y"', tag), ("*",))
    for form in forms:
        response = formats.respond(request(*(("If-None-Match", one) for one in form)), document)
        assert (response.status, response.body) == (304, None), form
    for other in ('"y"', tag.strip('"'), ""):
        assert formats.respond(request(("If-None-Match", other)), document).status == 200
