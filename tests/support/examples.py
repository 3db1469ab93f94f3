"""Hypothesis profiles: how many examples each property test tries."""

import os

from hypothesis import HealthCheck, settings

DEFAULT, LONG = "default", "long"
_PER_TEST = 50
_LONGER = 20  # times as many examples in a long run
_FACTORS = {DEFAULT: 1, LONG: _LONGER}


def load_profile() -> None:
    """Load the profile that HYPOTHESIS_PROFILE names: `default`, or `long` for twenty times the examples."""
    for name, factor in _FACTORS.items():
        # How long an example takes depends on the machine and on what else runs there, not on the product.
        settings.register_profile(
            f"metrion-{name}",
            max_examples=_PER_TEST * factor,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
    settings.load_profile(f"metrion-{_chosen()}")


def examples(count: int) -> int:
    """The number of examples of a test whose single example is unusually cheap or expensive."""
    return count * _FACTORS[_chosen()]


def _chosen() -> str:
    name = os.environ.get("HYPOTHESIS_PROFILE", "") or DEFAULT
    if name not in _FACTORS:
        raise ValueError(f"HYPOTHESIS_PROFILE={name}: {' or '.join(_FACTORS)}")
    return name
