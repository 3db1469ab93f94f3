"""Headers that lie, overflow or contradict must be refused by name; credentials and our own must not go on."""

import pytest

from services.gateway import headers
from services.gateway.errors import Refusal

TOKEN = "sk-metrion-" + "a" * 32


def test_only_what_the_provider_may_see_is_forwarded() -> None:
    intake, query = headers.read(
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


def facts(**ours: str) -> headers.Facts:
    intake, _ = headers.read([(f"x-metrion-{name.replace('_', '-')}", value) for name, value in ours.items()], "")
    return headers.facts(intake.ours, "max-age=60")


def test_requester_metadata_and_cache_are_read() -> None:
    found = facts(user=" Jörg ", meta_project="apollo", meta_env="prod", cache="TRUE")
    assert found == headers.Facts("Jörg", {"project": "apollo", "env": "prod"}, "true", 60)


@pytest.mark.parametrize(
    "ours",
    [
        {"user": "x" * 257},
        {"user": "ü" * 129},
        {"user": b"\xff\xfe".decode("utf-8", "surrogateescape")},
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
        headers.facts({"cache": ["true"]}, control)
    assert headers.facts({"user": ["x"]}, control).requester == "x"


def test_max_age_beyond_the_limit_is_the_limit() -> None:
    assert headers.facts({"cache": ["true"]}, "max-age=99999999999").max_age == headers.MAX_AGE_LIMIT
    assert headers.facts({"cache": ["true"]}, "private").max_age == headers.MAX_AGE_DEFAULT


def test_a_header_value_that_is_not_utf8_is_refused_by_name() -> None:
    intake, _ = headers.read([("X-Odd", b"\xe9".decode("utf-8", "surrogateescape"))], "")
    with pytest.raises(Refusal, match="X-Odd"):
        headers.forwardable(intake)
