"""A password in a URL must never be taken for a host, nor be printed."""

import os
import runpy
import subprocess
import sys
from typing import Annotated
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.cli import servers
from services.gateway.upstream import egress
from shared import clickhouse, logging_setup, nats_client, settings, urls
from shared.settings import SettingsError, setting
from tests.support.servers import ROOT

RAW = [
    "p@ss/w+rd=",
    "a#b",
    "a?b",
    "a/b",
    "a@b",
    "a b",
    "a\tb",
    "a\nb",
    "a%b",
    "a%zz",
    "a\\b",
    "a[b",
    "a]b",
    'a"b',
    "a<b",
    "ä",
    "a\x00b",
]
KINDS = [urls.CLICKHOUSE, urls.NATS, urls.UPSTREAM, urls.PROXY]


def scheme(kind: urls.Kind) -> str:
    return kind.schemes[0]


@pytest.mark.parametrize("kind", KINDS, ids=["clickhouse", "nats", "upstream", "proxy"])
@pytest.mark.parametrize("password", RAW)
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_repeated(kind: urls.Kind, password: str) -> None:
    with pytest.raises(ValueError, match="percent-encode") as refused:
        urls.parse(f"{scheme(kind)}://user:{password}@host:8123", kind)
    assert password not in str(refused.value).replace(kind.example, "").replace("(@ is %40)", "").replace(
        "@ : / ? # %", ""
    )


@given(user=st.text(min_size=1), password=st.text())
def test_percent_encoded_credentials_are_decoded(user: str, password: str) -> None:
    address = f"http://{quote(user, safe='')}:{quote(password, safe='')}@db.example:8123/"
    assert urls.parse(address, urls.CLICKHOUSE) == [urls.Parts("http", user, password, "db.example", 8123, "/")]
    assert urls.masked(address) == "http://***@db.example:8123/"


@given(password=st.text(min_size=1), kind=st.sampled_from(KINDS))
def test_no_other_host_is_ever_read_out_of_a_password(password: str, kind: urls.Kind) -> None:
    address = f"{scheme(kind)}://user:{password}@host:8123"
    assume(not (kind.many and "," in password))
    try:
        found = urls.parse(address, kind)
    except ValueError:
        return
    assert [(part.host, part.port) for part in found] == [("host", 8123)]


@pytest.mark.parametrize(
    "address",
    ["http://host", "http://host:8123/", "https://[::1]:8443", "http://u@host", "http://u:@host", "http://u:a:b@host", "http://127.0.0.1:1"],
)  # fmt: skip
def test_addresses_that_are_well_formed_are_taken(address: str) -> None:
    assert len(urls.parse(address, urls.CLICKHOUSE)) == 1


@pytest.mark.parametrize(
    "address",
    ["", " ", "host", "host:8123", "ftp://host", "http://", "http://:8123", "http://host:0", "http://host:65536", "http://host:x",
     "http://host/path", "http://host?x=1", "http://host#x", "http://u:p@", "http://a@b@c", "javascript:alert(1)", "http://ho st"],
)  # fmt: skip
def test_malformed_urls_are_rejected(address: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        urls.parse(address, urls.CLICKHOUSE)


class Given(msgspec.Struct, frozen=True, kw_only=True):
    clickhouse_url: Annotated[str, setting("ClickHouse", secret=True, url=urls.CLICKHOUSE)] = ""
    upstream_x: Annotated[str, setting("a provider", url=urls.UPSTREAM)] = ""


def test_a_setting_with_a_raw_password_ends_the_start_and_names_the_variable_only() -> None:
    with pytest.raises(SettingsError, match=r"METRION_CLICKHOUSE_URL must be .*percent-encode") as refused:
        settings.load(Given, {"METRION_CLICKHOUSE_URL": "http://user:geh@eim/#x@host"})
    assert "geh" not in str(refused.value) and "eim" not in str(refused.value)


def test_a_password_in_any_url_setting_is_masked_in_print() -> None:
    loaded = settings.load(Given, {"METRION_UPSTREAM_X": "https://user:geheim@proxy.example/v1"})
    assert "METRION_UPSTREAM_X=https://***@proxy.example/v1" in settings.render(loaded)


CHECKED: list[tuple[str, dict[str, str]]] = [
    (service, {variable: value})
    for service, variable in (
        ("logger", "METRION_CLICKHOUSE_URL"),
        ("dashboard", "METRION_CLICKHOUSE_URL"),
        ("logger", "METRION_NATS_URL"),
        ("gateway", "METRION_NATS_URL"),
        ("gateway", "METRION_OUTBOUND_PROXY"),
        ("gateway", "METRION_UPSTREAM_OPENAI"),
    )
    for value in (
        f"{'nats' if 'NATS' in variable else 'http'}://user:geh@im/w+rd=@host:1",
        f"{'nats' if 'NATS' in variable else 'http'}://user:geh#im@host:1",
    )
]


@pytest.mark.parametrize(("service", "given_"), CHECKED, ids=str)
def test_no_service_starts_with_a_raw_password_nor_shows_it(
    service: str, given_: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("METRION_")]:
        monkeypatch.delenv(name)
    whole = {
        "METRION_NATS_URL": "nats://a:b@127.0.0.1:4222",
        "METRION_CLICKHOUSE_URL": "http://127.0.0.1:8123",
    } | given_
    for name, value in whole.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [service, "--check"])
    monkeypatch.setattr(logging_setup, "configure", lambda *_, **__: None)  # it is the test's own process
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"services.{service}", run_name="__main__")
    shown = str(end.value) + "".join(capsys.readouterr())
    assert isinstance(end.value.code, str), "Python prints it and ends with status 1"
    assert "percent-encode" in end.value.code and "geh" not in shown


def test_check_prints_no_password_of_an_upstream() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    whole = {
        "METRION_NATS_URL": "nats://a:b@127.0.0.1:4222",
        "METRION_UPSTREAM_OPENAI": "https://me:geheim@relay.example/v1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway", "--check"],
        env=kept | whole,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "geheim" not in done.stdout + done.stderr
    assert "METRION_UPSTREAM_OPENAI=https://***@relay.example/v1" in done.stdout


def test_nats_gets_a_decoded_password_and_a_url_without_it() -> None:
    address = "nats://me:p%40ss%2Fw%2Brd%3D@a:4222, tls://me:p%40ss%2Fw%2Brd%3D@[::1]:4223"
    servers = {"servers": ["nats://a:4222", "tls://[::1]:4223"]}
    assert nats_client.target(address) == servers | {"user": "me", "password": "p@ss/w+rd="}
    assert nats_client.target("nats://token@a") == {"servers": ["nats://a:4222"], "token": "token"}
    assert nats_client.target("nats://a") == {"servers": ["nats://a:4222"]}
    differing = "nats://me:one@a, nats://me:two@b"
    assert nats_client.target(differing) == {"servers": differing.split(", ")}
    with pytest.raises(ValueError, match="must be the same for all servers"):
        nats_client.target("nats://me:one@a, nats://me:t%40o@b")


async def test_clickhouse_is_not_looked_for_at_a_part_of_the_password() -> None:
    with pytest.raises(ValueError, match="percent-encode"):
        await clickhouse.connect("http://user:p@ss/w+rd=@127.0.0.1:1", service="test")


def test_an_outbound_proxy_with_a_raw_password_is_refused() -> None:
    for address in ("http://user:geh@im/@proxy:3128", "user:geh#im@proxy:3128"):
        with pytest.raises(ValueError, match="percent-encode") as refused:
            egress.proxy_for("https://api.openai.com", setting=address, environ={})
        assert "geh" not in str(refused.value)
    found = egress.proxy_for("https://api.openai.com", setting="user:a%40b@proxy:3128", environ={})
    assert found is not None and (found.host, found.password) == ("proxy", "a@b")


def test_the_command_line_names_a_place_only_where_it_can_be_sure() -> None:
    assert servers.host_and_port("http://user:geheim@host:8123") == "host:8123"
    assert servers.host_and_port("http://user:p@ss/w@host:8123") == "the given address"
