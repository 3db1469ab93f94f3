"""The snippet in docs/alerts.md that verifies a signature."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from services.logger.alerts.channels import signature
from tests.support import paths
from tests.support.alert_messages import SIGNING_KEY


@pytest.fixture
def verify() -> Callable[..., bool]:
    text = (paths.ROOT / "docs" / "alerts.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    found: Callable[..., bool] = names["is_from_metrion"]
    return found


def headers(stamp: str, signed: str) -> dict[str, str]:
    return {"x-metrion-timestamp": stamp, "x-metrion-signature": f"v1={signed}"}


def test_the_documented_snippet_accepts_what_is_sent_and_nothing_else(verify: Callable[..., bool]) -> None:
    stamp = str(int(time.time()))
    signed = signature(SIGNING_KEY, stamp, b"{}")
    assert verify(SIGNING_KEY, headers(stamp, signed), b"{}")
    assert not verify(SIGNING_KEY, headers(stamp, signed), b"{ }")
    assert not verify("another key", headers(stamp, signed), b"{}")
    assert not verify(SIGNING_KEY, headers(str(int(stamp) + 1), signed), b"{}")
    old = str(int(stamp) - 3600)
    assert not verify(SIGNING_KEY, headers(old, signature(SIGNING_KEY, old, b"{}")), b"{}")
