"""The FOCUS project's own validator reads what `metrion export focus` writes."""

import asyncio
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from services.cli import main as cli
from services.cli import reported_costs
from services.logger import insert
from shared import clickhouse as client_module
from tests.clients.programs import CLIENTS, SECONDS, installed
from tests.support import focus, sample_rows, servers
from tests.support.focus_rows import NOVEMBER, priced

# Rules of the validator that no file can follow: it asks for columns that FOCUS 1.0 does not have (it has ProviderName,
# PublisherName, InvoiceIssuerName, ResourceId and ChargeCategory), and its package lacks the list of currencies.
BROKEN_RULES = {
    "BillingCurrency_IsCurrencyCode",
    "InvoiceIssuer_Required",
    "Provider_Required",
    "Publisher_Required",
    "ResourceID_Required",
    "SkuPriceId_Nullable",
}


@pytest.mark.parametrize("is_reconciled", [False, True])
def test_validator_of_the_focus_project_accepts_the_export(
    database: servers.ClickHouseServer | servers.External,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_reconciled: bool,
) -> None:
    # requirements/clients.in installs it for these versions of Python only: numpy 1 has no wheels for later ones
    assert sys.version_info < (3, 13), (
        "the validator of FOCUS files runs on Python 3.11 and 3.12: make PYTHON=python3.12 …"
    )
    account = f"f{uuid.uuid4().hex[:12]}"

    async def put() -> None:
        client = await client_module.connect(database.url("logger"), service="test")
        for rows in (sample_rows.generate(7, account=account, count=600), priced(account)):
            assert not await insert.insert(client, rows)
        await client.close()
        if is_reconciled:  # the month of all accounts gets a row of what the provider's own report differs by
            admin = await client_module.connect(database.url("admin"), service="test")
            await reported_costs.save(admin, "openai", {NOVEMBER.date(): Decimal(99)}, by="test")
            await admin.close()

    asyncio.run(put())
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", database.url("reader"))
    path = tmp_path / "month.csv"
    scope = [] if is_reconciled else ["--account", account]
    assert cli.main(["export", "focus", *scope, "--month", "2026-11", "--output", str(path)]) == 0
    assert {"difference"} & {row["x_TokenClass"] for row in focus.read(path.read_text())} == (
        {"difference"} if is_reconciled else set()
    )
    report = tmp_path / "report.xml"
    command = [str(installed(CLIENTS, "bin/focus-validator")), "--data-file", str(path), "--validate-version", "1.0"]
    done = subprocess.run(
        [*command, "--output-type", "unittest", "--output-destination", str(report)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    rules = list(ElementTree.parse(report).iter("testcase"))
    failed = {rule.attrib["name"].partition(" ")[0] for rule in rules if rule.find("failure") is not None}
    assert failed == BROKEN_RULES, done.stdout[-5000:] + done.stderr[-2000:]
    assert len(rules) > 120
