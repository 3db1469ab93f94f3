"""A provider key is read by nobody but the gateway, for nobody but its account and provider."""

import msgspec
import pytest

from shared.vault import Sealed, Vault, VaultError, key_id, new_key

OLD, NEW = new_key(), new_key()
PLACE = {"account": "acme", "provider": "openai"}


def test_sealed_key_opens_unchanged_and_each_seal_differs() -> None:
    vault = Vault.parse(OLD)
    one, two = vault.seal("sk-secret", **PLACE), vault.seal("sk-secret", **PLACE)
    assert vault.open(one, **PLACE) == vault.open(two, **PLACE) == "sk-secret"
    assert one.nonce != two.nonce and one.data != two.data
    assert b"sk-secret" not in one.data


@pytest.mark.parametrize("place", [{"account": "other"}, {"provider": "anthropic"}])
def test_a_sealed_key_copied_to_another_account_or_provider_does_not_open(place: dict[str, str]) -> None:
    vault = Vault.parse(OLD)
    sealed = vault.seal("sk-secret", **PLACE)
    with pytest.raises(VaultError, match="sealed for another"):
        vault.open(sealed, **(PLACE | place))


def test_sealed_key_distinguishes_account_and_provider_boundaries() -> None:
    vault = Vault.parse(OLD)
    sealed = vault.seal("sk-secret", account="ab", provider="c")
    with pytest.raises(VaultError):
        vault.open(sealed, account="a", provider="bc")


def test_a_changed_byte_anywhere_is_noticed() -> None:
    vault = Vault.parse(OLD)
    sealed = vault.seal("sk-secret", **PLACE)
    for part in ("nonce", "data"):
        whole = getattr(sealed, part)
        for at in range(len(whole)):
            changed = msgspec.structs.replace(sealed, **{part: whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]})
            with pytest.raises(VaultError):
                vault.open(changed, **PLACE)


def test_a_new_secret_key_opens_old_seals_only_as_long_as_the_old_one_is_named_too() -> None:
    sealed = Vault.parse(OLD).seal("sk-secret", **PLACE)
    both = Vault.parse(f"{NEW}, {OLD}")
    assert both.open(sealed, **PLACE) == "sk-secret"
    assert not both.is_current(sealed)
    again = both.seal("sk-secret", **PLACE)
    assert both.is_current(again) and Vault.parse(NEW).open(again, **PLACE) == "sk-secret"
    with pytest.raises(VaultError, match=sealed.key_id):
        Vault.parse(NEW).open(sealed, **PLACE)


@pytest.mark.parametrize("text", ["x", "c2hvcnQ=", "AAAA,x", "a" * 43])
def test_an_invalid_secret_key_stops_the_start_and_is_not_printed(text: str) -> None:
    with pytest.raises(VaultError) as raised:
        Vault.parse(text)
    assert "secret key" in str(raised.value) and text not in str(raised.value)


def test_without_a_secret_key_nothing_is_stored_in_plain_text() -> None:
    with pytest.raises(VaultError, match="METRION_SECRET_KEY"):
        Vault.parse("").seal("sk-secret", **PLACE)


def test_the_id_of_a_secret_key_reveals_nothing_about_it() -> None:
    raw = b"k" * 32
    assert key_id(raw) not in raw.hex() and len(key_id(raw)) == 8


def test_a_sealed_key_survives_json() -> None:
    sealed = Vault.parse(OLD).seal("sk-secret", **PLACE)
    assert msgspec.json.decode(msgspec.json.encode(sealed), type=Sealed) == sealed
