"""URLs that are webhooks, and texts that two parsers might read in two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.alerts import webhook_url

TEAMS = (
    "https://prod-12.westeurope.logic.azure.com:443/workflows/0a1b/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=Ab-_c"
)


@pytest.mark.parametrize(
    ("text", "origin", "host", "port"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "https://hooks.slack.com", "hooks.slack.com", 443),
        (TEAMS, "https://prod-12.westeurope.logic.azure.com", "prod-12.westeurope.logic.azure.com", 443),
        ("https://outlook.office.com/webhookb2/a@b/IncomingWebhook/c", "https://outlook.office.com", "outlook.office.com", 443),
        ("http://receiver:8080", "http://receiver:8080", "receiver", 8080),
        ("https://HOOKS.example.com", "https://hooks.example.com", "hooks.example.com", 443),
        ("https://[2606:4700::1111]/x", "https://[2606:4700::1111]", "2606:4700::1111", 443),
        ("http://127.0.0.1:80/", "http://127.0.0.1", "127.0.0.1", 80),
    ],
)  # fmt: skip
def test_a_url_is_parsed_and_only_its_origin_is_shown(text: str, origin: str, host: str, port: int) -> None:
    url = webhook_url.parse(text)
    assert (url.origin, url.host, url.port, url.text) == (origin, host, port, text)
    assert repr(url) == f"WebhookUrl({origin!r})"


@pytest.mark.parametrize(
    "text",
    [
        "", "hooks.example.com", "ftp://host/secret", "//host/secret", "https:///secret", "https://", "HTTPS://host/secret",
        "https://user:secret@host/", "https://user@host/", "https://a.example\\@b.example/secret", "https://host#secret",
        "https://host/secret#x", "https://ho st/secret", "https://host/sec ret", "https://host/secret\n", "https://host\t/secret",
        "https://höst/secret", "https://host/sécret", "https://host:0/secret", "https://host:65536/secret", "https://host:/secret",
        "https://host:80:80/secret", "https://[::1/secret", "https://::1/secret", "https://[fe80::1%25eth0]/secret",
        "https://ho%73t/secret", "https://-host/secret", "https://host/" + "secret" * 400, 'https://host/"secret"', "https://host/<secret>",
    ],
)  # fmt: skip
def test_anything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        webhook_url.parse(text)
    assert "secret" not in str(refused.value)


@given(st.from_regex(webhook_url._URL, fullmatch=True))
def test_the_http_client_reads_the_same_host_and_port(text: str) -> None:
    """A host that was checked would otherwise not be the one that is called."""
    try:
        url = webhook_url.parse(text)
    except ValueError:
        return
    try:
        read = URL(text, encoded=True)
    except ValueError:
        return  # the client refuses it
    assert ((read.raw_host or "").lower(), read.port, read.scheme) == (url.host, url.port, url.scheme)
    assert read.raw_user is None and read.raw_password is None
