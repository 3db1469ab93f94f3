"""Who may ask for a change, by which name, and where a sign-in may lead: what a foreign page could try."""

import pytest

from services.dashboard.auth.csrf import is_cross_site, is_known_host, local_path

PUBLIC = "https://metrion.example.com"


@pytest.mark.parametrize("host", ["localhost:8090", "127.0.0.1:8090", "[::1]:8090", "192.168.1.7", "metrion.example.com",
                                  "METRION.example.com:443", "my.localhost"])  # fmt: skip
def test_the_dashboard_answers_to_its_own_names(host: str) -> None:
    assert is_known_host(host, PUBLIC)


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "a@127.0.0.1",
                                  "evil.example/127.0.0.1", "metrion.example.com.evil", "xmetrion.example.com", "[::1"])  # fmt: skip
def test_a_host_name_rebound_to_loopback_is_refused(host: str) -> None:
    assert not is_known_host(host, PUBLIC)
    assert not is_known_host("metrion.example.com", ""), "no name is known that nobody configured"


@pytest.mark.parametrize(
    ("headers", "cookie", "foreign"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"}, True, False),  # the browser knows better
        ({"Sec-Fetch-Site": "same-site"}, True, True),
        ({"Sec-Fetch-Site": "cross-site"}, True, True),
        ({"Sec-Fetch-Site": "none"}, True, True),
        ({"Sec-Fetch-Site": "cross-site"}, False, True),  # a sign-in that another page begins
        ({"Origin": "http://box.lan:8090"}, True, False),  # plain http on a name: no Sec-Fetch-Site is sent there
        ({"Origin": PUBLIC}, True, False),
        ({"Origin": "http://metrion.example.com"}, True, True),
        ({"Origin": "http://box.lan"}, True, True),
        ({"Origin": "http://evil.example"}, True, True),
        ({"Origin": "null"}, True, True),
        ({"Origin": ""}, True, True),
        ({}, True, True),
        ({}, False, False),  # no browser
    ],
)
def test_cross_site_changes_are_recognised(headers: dict[str, str], cookie: bool, foreign: bool) -> None:
    asked = {"host": "box.lan:8090", "public_url": PUBLIC, "has_cookie": cookie}
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert is_cross_site(method, headers, **asked) is foreign  # type: ignore[arg-type]
    for method in ("GET", "HEAD"):
        assert not is_cross_site(method, headers, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "", "evil", "javascript:alert(1)",
     "/\t/evil.example", "/a\r\nSet-Cookie: x=y", "/signin?next=/signin", "/signout", "///evil.example"],
)  # fmt: skip
def test_sign_in_target_of_another_site_is_replaced_by_the_start_page(text: str) -> None:
    assert local_path(text) == "/"


def test_sign_in_returns_to_the_requested_page() -> None:
    assert local_path("/logs?model=gpt-4o&q=https://x") == "/logs?model=gpt-4o&q=https://x"
