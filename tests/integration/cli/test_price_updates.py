"""`metrion prices update`, `history` and `rollback` against a real NATS: what they refuse, show and leave behind."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.cli import main as cli
from shared import audit, nats_client
from shared.pricing import versions
from shared.pricing.update import genai_release
from tests.support import servers

Run = Callable[..., tuple[int, str, str]]
Models = dict[str, dict[str, Any]]
NEW = {"id": "gpt-99", "match": {"equals": "gpt-99"}, "prices": {"input_mtok": "3", "output_mtok": "12"}}


@pytest.fixture(scope="module")
def installed() -> bytes:
    """The price lists of the installed release, as a JSON file of the library."""
    release = genai_release.read(genai_release.installed()).catalog
    lists = [{"id": name, "models": models} for name, models in release.price_lists.items()]
    return msgspec.json.encode(lists)


class Source:
    """A JSON file of prices, made from the installed release."""

    def __init__(self, path: Path, installed: bytes) -> None:
        self.path = path
        self._installed = installed

    def write(self, change: Callable[[Models], None]) -> str:
        """Change OpenAI's models by name, and write the file; returns its path."""
        lists = json.loads(self._installed)
        openai = next(one for one in lists if one["id"] == "openai")
        models: Models = {model["id"]: model for model in openai["models"]}
        change(models)
        openai["models"] = list(models.values())
        self.path.write_text(json.dumps(lists))
        return str(self.path)


@pytest.fixture
def source(tmp_path: Path, installed: bytes) -> Source:
    return Source(tmp_path / "prices.json", installed)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path / "nats") as server:
        asyncio.run(servers.provision(server))
        yield server


@pytest.fixture
def run(
    broker: servers.NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run `metrion prices` in this process: exit status, output, remarks."""
    monkeypatch.setenv("METRION_NATS_URL", broker.url("admin"))
    monkeypatch.setenv("METRION_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("METRION_PRICES_FILE", raising=False)

    def running(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(["prices", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return running


def add(models: Models) -> None:
    models["gpt-99"] = NEW


def priced(unit: str, price: str, model: str = "gpt-99") -> Callable[[Models], None]:
    def change(models: Models) -> None:
        add(models)
        models[model] = models[model] | {"prices": models[model]["prices"] | {unit: price}}

    return change


async def stored(broker: servers.NatsServer) -> tuple[list[str], list[tuple[str, str, str]], str]:
    """Names of the versions, newest first; actions, subjects and overruled objections of the audit log; last outcome."""
    nc = await nats_client.connect(broker.url("admin"), service="cli")
    found = await versions.read(nc.jetstream())
    records = await audit.read(nc.jetstream(), area="prices")
    checked = await versions.checked(nc.jetstream())
    await nc.close()
    names = [version.name if isinstance(version, versions.PriceVersion) else version for version in found.values()]
    actions = [(record.action, record.subject, record.details.get("overruled", "")) for record in records]
    return names, actions, checked.outcome if checked else ""


def test_prices_are_shown_accepted_refused_overruled_and_rolled_back(
    run: Run, source: Source, broker: servers.NatsServer
) -> None:
    look = lambda: asyncio.run(stored(broker))  # noqa: E731
    # 1. nothing is written without agreement
    path = source.write(add)
    status, out, err = run("update", "--from", path)
    assert status == 0 and "Dry run" in err and look() == ([], [], "")
    assert "openai gpt-99" in out and "new model" in out and "$12" in out
    assert max(map(len, out.splitlines())) <= 80
    # 2. accepted, once; then up to date
    status, out, err = run("update", "--from", path, "--yes", "--note", "new model")
    ((first,), _, outcome) = look()
    assert (status, outcome) == (0, "accepted") and first in err and first.startswith("1-")
    status, _, err = run("update", "--from", path, "--yes")
    assert status == 0 and "nothing to change" in err and look()[2] == "unchanged" and len(look()[0]) == 1
    status, out, _ = run("show", "--model", "gpt-99", "--json")
    assert status == 0 and json.loads(out)["price_version"].startswith(first)
    # 3. what looks like a mistake needs --accept
    path = source.write(priced("input_mtok", "31"))
    status, _, err = run("update", "--from", path, "--yes")
    assert status == 1 and "gpt-99, standard input_mtok changes by a factor of 10" in err and "--accept" in err
    status, out, _ = run("update", "--from", path, "--json")
    assert status == 1 and [one["guard"] for one in json.loads(out)["objections"]] == ["factor"]
    assert len(look()[0]) == 1
    status, _, err = run("update", "--from", path, "--yes", "--accept")
    assert status == 0 and look()[0][0] in err and "factor of 10" in look()[1][0][2]
    # 4. costs computed by hand cannot be overruled
    path = source.write(priced("input_mtok", "0.16", "gpt-4o-mini"))
    status, _, err = run("update", "--from", path, "--yes", "--accept")
    assert status == 1 and "is 0.0000093 USD, not 0.00000956" in err and "--accept" not in err and len(look()[0]) == 2
    # 5. back, which is a new version with the old content
    status, out, err = run("rollback", "--yes")
    names, actions, _ = look()
    assert status == 0 and names[0] == f"3-{first[2:]}" and names[0] in err and "$31" in out
    assert [action[0] for action in actions] == ["rollback", "update", "update"]
    status, out, _ = run("history", "--json")
    listed = json.loads(out)
    assert listed["in_use"] == names[0] and [one["rolled_back_to"] for one in listed["versions"]] == [1, 0, 0]
    assert listed["versions"][2]["note"] == "new model" and "content" not in listed["versions"][0]
    assert run("history")[1].count("prices.json") == 3
    status, out, _ = run("show", "--version", "2", "--model", "gpt-99", "--json")
    assert Decimal(next(one["price"] for one in json.loads(out)["prices"] if one["unit"] == "input_mtok")) == 31
    status, out, err = run("rollback", "2", "--dry-run")
    assert status == 0 and "$31" in out and len(look()[0]) == 3


def test_bad_sources_and_versions_are_refused_in_one_line(run: Run, source: Source, tmp_path: Path) -> None:
    path = source.write(add)
    true = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    (tmp_path / "bad.whl").write_bytes(b"PK\x03\x04")
    refused = [
        (("update", "--from", path, "--hash", "sha256:" + "0" * 64), "not the expected one"),
        (("update", "--from", path, "--hash", "abc"), "64 hexadecimal"),
        (("update", "--from", str(tmp_path / "bad.whl")), "damaged wheel"),
        (("update", "--from", str(tmp_path / "none.whl")), "No such file"),
        (("update", "--from", "https://example.com/x.whl"), "a hash is needed"),
        (("rollback",), "no earlier version"),
        (("rollback", "7"), "no price version 7"),
        (("show", "--version", "7"), "no price version 7"),
    ]
    for arguments, reason in refused:
        status, out, err = run(*arguments)
        assert (status, out, err.count("\n")) == (1, "", 1) and reason in err, (arguments, err)
    assert run("update", "--from", path, "--hash", true)[0] == 0
    assert "No prices have been accepted" in run("history")[2]


def test_prices_that_corrections_override_are_reported(run: Run, source: Source) -> None:
    def change(models: Models) -> None:
        models["gpt-6.2-astra"] = {
            "id": "gpt-6.2-astra", "match": {"equals": "gpt-6.2-astra"}, "prices": {"input_mtok": "9", "output_mtok": "40"},
            "surcharge": None,
        }  # fmt: skip
        models["gpt-6.2-sol"] = NEW | {"id": "gpt-6.2-sol", "match": {"equals": "gpt-6.2-sol"}}

    status, out, _ = run("update", "--from", source.write(change))
    assert status == 0 and "openai/gpt-6.2-astra: Object contains unknown field `surcharge`" in out
    assert "set by corrections of this release or your file: gpt-6.2-sol" in out
