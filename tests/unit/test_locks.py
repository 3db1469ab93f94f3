"""What the locks promise: every package pinned with its hash, and none says where it comes from."""

import json
import re
from pathlib import Path

import pytest

from tests.support import servers

LOCKS = sorted((servers.ROOT / "requirements").glob("*.txt"))
NPM = servers.ROOT / "tests" / "clients" / "npm"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_package_that_was_swapped_on_the_way_is_refused(lock: Path) -> None:
    text = lock.read_text()
    packages = re.split(r"\n(?=\S)", text.strip())
    assert packages
    for package in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==\S+", package), package
        assert "--hash=sha256:" in package, package
    assert "://" not in text


def test_an_npm_package_that_was_swapped_on_the_way_is_refused() -> None:
    lock = json.loads((NPM / "package-lock.json").read_bytes())
    packages = {name: found for name, found in lock["packages"].items() if name}
    assert packages
    for name, found in packages.items():
        assert found["integrity"].startswith("sha512-"), name
        assert "resolved" not in found, name
    wanted = json.loads((NPM / "package.json").read_bytes())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_litellm_is_none_of_the_compromised_releases() -> None:
    (version,) = re.findall(
        r"^litellm==(\S+)", (servers.ROOT / "requirements" / "clients.txt").read_text(), re.MULTILINE
    )
    assert tuple(map(int, version.split("."))) >= (1, 109, 1)
