"""What is kept of a password opens nothing, and only the password itself matches it."""

import pytest

from shared import passwords


def test_a_password_matches_its_own_hash_and_no_other() -> None:
    stored = passwords.hashed("correct horse battery", n=1 << 4, p=1)
    assert passwords.matches("correct horse battery", stored)
    assert not passwords.matches("correct horse batterx", stored)
    assert not passwords.matches("", stored)
    assert "correct" not in stored
    assert stored != passwords.hashed("correct horse battery", n=1 << 4, p=1), "salted"


def test_a_password_typed_on_another_keyboard_is_the_same() -> None:
    stored = passwords.hashed("Zürich\u00e9 forever", n=1 << 4, p=1)
    assert passwords.matches("Zu\u0308riche\u0301 forever", stored)


@pytest.mark.parametrize("stored", ["", "x", "scrypt$16$8$1$!!$!!", "scrypt$1048576$8$1$AAAA$AAAA", "a$b$c$d$e$f"])
def test_a_malformed_password_hash_matches_no_password(stored: str) -> None:
    assert not passwords.matches("", stored)
    assert not passwords.matches("anything at all", stored)


def test_a_stored_hash_costs_what_it_should() -> None:
    kind, n, r, p, *_ = passwords.hashed("correct horse battery").split("$")
    assert (kind, int(n) * int(r) * 128 * int(p) >= 80 << 20) == ("scrypt", True)


@pytest.mark.parametrize("password", ["", "short", "x" * 11, "a" * 12, "ababababababab", "x" * 300])
def test_a_bad_password_is_refused_in_words(password: str) -> None:
    assert passwords.weakness(password)


def test_a_generated_password_is_good_and_never_the_same() -> None:
    made = {passwords.generated() for _ in range(100)}
    assert len(made) == 100 and not any(map(passwords.weakness, made))
