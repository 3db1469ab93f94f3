"""Guessing passwords gets slow, and cannot be used to lock others out."""

from services.dashboard.backoff import FREE, Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_guessing_one_name_gets_slower_and_slower_and_never_ends_it_for_long() -> None:
    clock = Clock()
    backoff = Backoff(clock=clock)
    for _ in range(FREE["user"]):
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


def test_an_address_that_tries_many_names_waits_whoever_it_names() -> None:
    backoff = Backoff(clock=Clock())
    for number in range(FREE["address"] + 12):
        backoff.failed(user=f"user{number}", address="1.1.1.1")
    backoff.succeeded(user="user3")
    assert backoff.wait(user="somebody-else", address="1.1.1.1") == 900
    assert backoff.wait(user="somebody-else", address="1.1.1.2") == 0


def test_a_right_password_forgives_the_name_and_an_hour_forgives_all() -> None:
    clock = Clock()
    backoff = Backoff(clock=clock)
    for _ in range(20):
        backoff.failed(user="ann", address="1.1.1.1")
    backoff.succeeded(user="ann")
    assert backoff.wait(user="ann", address="9.9.9.9") == 0
    clock.now += 3601
    backoff.failed(user="bob", address="1.1.1.1")
    assert backoff.wait(user="bob", address="1.1.1.1") == 0


def test_an_attack_with_endless_names_fills_no_memory() -> None:
    backoff = Backoff(clock=Clock())
    for number in range(12_000):
        backoff.failed(user=f"u{number}", address="1.1.1.1")
    assert len(backoff._failures) == 10_000
    assert backoff.wait(user="x", address="1.1.1.1") == 900, "what is tried again and again is not what is forgotten"
