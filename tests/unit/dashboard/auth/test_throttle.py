"""Guessing passwords gets slow, and cannot be used to lock others out."""

from services.dashboard.auth.throttle import FREE_FAILURES, SignInThrottle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_guessing_a_password_is_slowed_down_without_locking_the_user_out_for_long() -> None:
    clock = Clock()
    backoff = SignInThrottle(clock=clock)
    for _ in range(FREE_FAILURES["user"]):
        assert backoff.wait(user="ann", address="1.1.1.1") == 0
        backoff.failed(user="ann", address="1.1.1.1")
    waits = []
    for number in range(12):
        waits.append(backoff.wait(user="ann", address=f"2.2.2.{number}"))
        backoff.failed(user="ann", address=f"2.2.2.{number}")
    assert waits[:4] == [1, 2, 4, 8] and max(waits) == 60
    assert backoff.wait(user="bob", address="3.3.3.3") == 0
    clock.now += 61
    assert backoff.wait(user="ann", address="3.3.3.3") == 0


def test_address_that_tries_many_names_is_throttled_for_all_names() -> None:
    backoff = SignInThrottle(clock=Clock())
    for number in range(FREE_FAILURES["address"] + 12):
        backoff.failed(user=f"user{number}", address="1.1.1.1")
    backoff.succeeded(user="user3")
    assert backoff.wait(user="user4", address="1.1.1.1") == 900
    assert backoff.wait(user="user4", address="1.1.1.2") == 0


def test_success_resets_the_name_and_an_hour_resets_everything() -> None:
    clock = Clock()
    backoff = SignInThrottle(clock=clock)
    for _ in range(20):
        backoff.failed(user="ann", address="1.1.1.1")
    backoff.succeeded(user="ann")
    assert backoff.wait(user="ann", address="9.9.9.9") == 0
    clock.now += 3601
    backoff.failed(user="bob", address="1.1.1.1")
    assert backoff.wait(user="bob", address="1.1.1.1") == 0


def test_throttle_bounds_its_memory_under_endless_names() -> None:
    backoff = SignInThrottle(clock=Clock())
    for number in range(12_000):
        backoff.failed(user=f"u{number}", address="1.1.1.1")
    assert len(backoff._records) == 10_000
    assert backoff.wait(user="u11999", address="1.1.1.1") == 900, "what is tried again and again is not forgotten"


def test_concurrent_guesses_do_not_bypass_the_throttle() -> None:
    backoff = SignInThrottle(clock=Clock())
    let_in = [backoff.begin(user="ann", address=f"1.1.1.{number}") == 0 for number in range(60)]
    assert sum(let_in) == FREE_FAILURES["user"]
    for number in range(FREE_FAILURES["user"]):
        backoff.failed(user="ann", address=f"1.1.1.{number}")
    assert backoff.wait(user="ann", address="2.2.2.2") == 1


def test_many_names_at_once_from_one_address_are_no_way_around_its_limit() -> None:
    backoff = SignInThrottle(clock=Clock())
    let_in = [backoff.begin(user=f"user{number}", address="1.1.1.1") == 0 for number in range(200)]
    assert sum(let_in) == FREE_FAILURES["address"]


def test_users_who_share_an_address_with_an_attacker_can_sign_in() -> None:
    backoff = SignInThrottle(clock=Clock())
    for number in range(60):
        backoff.failed(user="admin" if number % 2 else f"user{number}", address="10.0.0.1")
    assert backoff.begin(user="admin", address="10.0.0.1") > 0
    assert backoff.begin(user="ann", address="10.0.0.1") == 0
    assert backoff.begin(user="bob", address="10.0.0.1") > 0, "one at a time: else every name could be tried at once"
    backoff.succeeded(user="ann", address="10.0.0.1")
    assert backoff.begin(user="bob", address="10.0.0.1") == 0
    backoff.failed(user="bob", address="10.0.0.1")
    assert backoff.begin(user="bob", address="10.0.0.1") > 0, "a wrong password is not tried twice"


def test_withdrawn_attempt_does_not_count_as_a_failure() -> None:
    backoff = SignInThrottle(clock=Clock())
    for _ in range(50):
        assert backoff.begin(user="ann", address="1.1.1.1") == 0
        backoff.withdrawn(user="ann", address="1.1.1.1")


def test_an_ipv6_customer_with_many_addresses_is_one_address() -> None:
    backoff = SignInThrottle(clock=Clock())
    for number in range(FREE_FAILURES["address"]):
        backoff.failed(user=f"u{number}", address=f"2001:db8:1:2::{number:x}")
    backoff.failed(user="ann", address="2001:db8:1:3::1")
    assert backoff.wait(user="ann", address="2001:db8:1:2::ffff") > 0
    assert backoff.wait(user="ann", address="2001:db8:1:3::ffff") == 0


def test_ipv4_addresses_that_a_proxy_maps_to_ipv6_do_not_share_one_throttle() -> None:
    backoff = SignInThrottle(clock=Clock())
    for number in range(FREE_FAILURES["address"] + 12):
        backoff.failed(user=f"user{number}", address="::ffff:1.1.1.1")
    assert backoff.wait(user="user4", address="1.1.1.1") == 900, "written either way it is the same address"
    assert backoff.wait(user="user4", address="::ffff:2.2.2.2") == 0
