"""Headers that lie, overflow or contradict must be refused by name; credentials and our own must not go on."""

import pytest
from hypothesis import given

from services.gateway.request import header_names, headers
from services.gateway.request.errors import Refusal
from tests.support.strategies import HeaderSample, TextSample, header_samples, header_texts

TOKEN = "sk-metrion-" + "a" * 32


def read(items: list[tuple[str, str]], query: str) -> tuple[headers.ParsedHeaders, str]:
    names = header_names.split([(name.encode("utf-8", "surrogateescape"), b"") for name, _ in items])
    return headers.read(names, [value for _, value in items], query)


def test_only_what_the_provider_may_see_is_forwarded() -> None:
    intake, query = read(
        [
            ("Host", "here"),
            ("Authorization", f"Bearer {TOKEN}"),
            ("X-Api-Key", "own-key"),
            ("x-metrion-user", "ann"),
            ("Cookie", "session=1"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("TE", "trailers"),
            ("Accept", "application/json"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
        ],
        "alt=sse&key=g%2Bkey&b=%20",
    )
    assert list(intake.forward.items()) == [
        ("Host", ""),
        ("Accept", "application/json"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
    ]
    assert intake.credentials == [TOKEN, "own-key", "g+key"]
    assert intake.native_key
    assert query == "alt=sse&b=%20"


def facts(**ours: str) -> headers.MetrionHeaders:
    intake, _ = read([(f"x-metrion-{name.replace('_', '-')}", value) for name, value in ours.items()], "")
    return headers.read_metrion(intake.metrion, "max-age=60")


def test_requester_metadata_and_cache_are_read() -> None:
    found = facts(user=" Jörg ", meta_project="apollo", meta_env="prod", cache="TRUE")
    assert found == headers.MetrionHeaders("Jörg", {"project": "apollo", "env": "prod"}, "true", 60)


@pytest.mark.parametrize(
    "ours",
    [
        {"user": "x" * 257},
        {"user": "ü" * 129},
        {"user": "a\x01b"},
        {"user": "Ann%0AAdmin"},
        {"user": "%C3%BC" * 129},
        {"meta_a": "x" * 257},
        {f"meta_{n}": "x" for n in range(17)},
        {"cache": "yes"},
        {"cache": ""},
    ],
)
def test_bad_values_of_our_headers_are_refused(ours: dict[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        facts(**ours)
    assert caught.value.status == 400
    assert "x-metrion" in caught.value.message


@pytest.mark.parametrize("control", ["max-age=soon", "max-age=-1", "max-age", "no-store, max-age=1.5"])
def test_a_malformed_max_age_is_refused_when_caching_is_asked_for(control: str) -> None:
    with pytest.raises(Refusal):
        headers.read_metrion({"cache": ["true"]}, control)
    assert headers.read_metrion({"user": ["x"]}, control).requester == "x"


def test_max_age_beyond_the_limit_is_the_limit() -> None:
    for seconds in ("99999999999", "9" * 19, "9" * 5000, "000" + "9" * 19):
        assert headers.read_metrion({"cache": ["true"]}, f"max-age={seconds}").max_age == headers.MAX_AGE_LIMIT
    assert headers.read_metrion({"cache": ["true"]}, "max-age=" + "0" * 30 + "60").max_age == 60
    assert headers.read_metrion({"cache": ["true"]}, "private").max_age == headers.MAX_AGE_DEFAULT


def test_a_header_value_that_is_not_utf8_is_recognized() -> None:
    intake, _ = read([("X-Odd", b"\xe9".decode("utf-8", "surrogateescape"))], "")
    assert headers.has_raw_bytes(intake)
    assert not headers.has_raw_bytes(read([("X-Even", "é")], "")[0])


def wire(data: bytes) -> str:
    """A header value as the HTTP server hands it over."""
    return data.decode("utf-8", "surrogateescape")


@given(header_samples())
def test_a_set_of_headers_passes_in_its_order_without_what_belongs_to_the_connection(sample: HeaderSample) -> None:
    items = [(name.decode(), wire(value)) for name, value in sample.items]
    intake, _ = read(items, "")
    expected = [(name, value) for name, value in items if name.lower() not in sample.dropped]
    assert list(intake.forward.items()) == [("Host", ""), *expected]
    assert sample.passed <= {name.lower() for name in intake.forward}


@given(header_texts())
def test_a_requester_beyond_ascii_is_recorded_as_it_was_meant(sample: TextSample) -> None:
    assert facts(user=wire(sample.wire)).requester == sample.text
    assert facts(meta_team=wire(sample.wire)).metadata == {"team": sample.text}


@pytest.mark.parametrize(
    ("value", "requester"),
    [
        ("J%C3%B6rg%20%C3%84", "Jörg Ä"),
        ("UTF-8''J%C3%B6rg", "Jörg"),
        ("utf-8'de'J%c3%b6rg", "Jörg"),
        ("iso-8859-1''J%F6rg", "Jörg"),
        ("UTF-8''ann", "ann"),
        ("O'Brien's", "O'Brien's"),
        ("100%", "100%"),
        ("100%25", "100%"),
        ("50%DE", "50%DE"),
        ("a%zz%C3%B6", "a%zz%C3%B6"),
        (wire("Jörg".encode("latin-1")), "Jörg"),
        (wire("Jörg".encode()), "Jörg"),
    ],
)
def test_the_conventions_for_names_beyond_ascii(value: str, requester: str) -> None:
    assert facts(user=value).requester == requester


@pytest.mark.parametrize(
    "control", ["no-store", "no-cache", "private, No-Store", "max-age=60, no-cache", 'no-cache="x"']
)
def test_a_client_that_forbids_caching_is_obeyed(control: str) -> None:
    assert headers.read_metrion({"cache": ["true"]}, control).cache == ""
    assert headers.read_metrion({"cache": ["refresh"]}, control).cache == ""
    assert headers.read_metrion({}, control, cache_default=True).cache == ""


EDGE = [
    "CF-Connecting-IP",
    "CF-Ray",
    "CDN-Loop",
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "x-forwarded-client-cert",
    "X-Original-URL",
    "X-Original-Forwarded-For",
    "X-Rewrite-URL",
    "X-Real-IP",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "Fastly-Client-IP",
    "Fly-Client-IP",
    "X-Amzn-Trace-Id",
    "X-Amz-Cf-Id",
    "CloudFront-Viewer-Country",
    "X-Cloud-Trace-Context",
    "X-Azure-ClientIP",
    "X-Envoy-External-Address",
    "X-Goog-IAP-JWT-Assertion",
    "X-Vercel-Id",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
]


@pytest.mark.parametrize("name", EDGE)
def test_headers_added_by_proxies_are_not_forwarded(name: str) -> None:
    intake, _ = read([(name, "1"), (name.upper(), "2"), ("X-Stainless-Lang", "python")], "")
    assert list(intake.forward.items()) == [("Host", ""), ("X-Stainless-Lang", "python")]


def test_a_key_in_the_query_is_found_however_its_name_is_spelled() -> None:
    intake, query = read([], "%6bey=own&a=1")
    assert (intake.credentials, query) == (["own"], "a=1")


@pytest.mark.parametrize(
    "name", ["x_metrion_user", "X_Forwarded_For", "Transfer_Encoding", "x_api_key", f"X-{TOKEN}", TOKEN]
)
def test_other_spellings_of_internal_headers_are_not_forwarded(name: str) -> None:
    intake, _ = read([(name, "1"), ("session_id", "s")], "")
    assert list(intake.forward.items()) == [("Host", ""), ("session_id", "s")]
    assert (intake.credentials, intake.metrion) == ([], {})


def test_a_key_under_googles_other_name_is_a_credential() -> None:
    intake, query = read([], "%24key=k1&a=1")
    assert (intake.credentials, intake.native_key, query) == (["k1"], True, "a=1")


@pytest.mark.parametrize(
    "name",
    [
        *("X-Goog-Authenticated-User-Email", "X-Ms-Client-Principal-Name", "Remote-User", "Tailscale-User-Login"),
        *("X-Webauth-User", "X-Remote-User", "l5d-dst-override", "X-Authentik-Email", "X-Pomerium-Jwt-Assertion"),
    ],
)
def test_identity_headers_of_auth_proxies_are_not_forwarded(name: str) -> None:
    assert "Host" in (forwarded := read([(name, "1")], "")[0].forward)
    assert len(forwarded) == 1
