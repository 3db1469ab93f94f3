"""The guide for Kubernetes: its commands name what exists, in an order that works."""

import re

import pytest

from tests.deploy.chart import of, render
from tests.support import servers

GUIDE = servers.ROOT / "deploy" / "README.md"


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    return GUIDE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_guide_pins_the_version_of_every_third_party_chart() -> None:
    commands = re.findall(r"helm upgrade --install \S+ (?:oci://\S+|kedacore/\S+|nats/\S+).*", GUIDE.read_text())
    assert len(commands) >= 4
    assert [one for one in commands if " --version " not in one] == []


@pytest.mark.parametrize("title", ["Minimal setup on a laptop", "Production", "Your own NATS and ClickHouse"])
def test_every_way_to_install_creates_the_namespace_before_the_secret(title: str) -> None:
    """A way that leaves them out ends at pods that wait for a secret."""
    text = section(title)
    namespace, secret = text.index("kubectl create namespace metrion"), text.index("passwords.py")
    assert namespace < secret
    chart = re.search(r"helm upgrade --install metrion", text)
    assert chart is None or secret < chart.start()


def test_the_statements_for_an_external_clickhouse_are_named_with_their_parameters() -> None:
    text = section("Your own NATS and ClickHouse")
    statements = (servers.ROOT / "deploy" / "values" / "clickhouse-users.sql").read_text()
    assert "clickhouse-users.sql" in text
    for parameter in set(re.findall(r"\{(\w+_sha256):String\}", statements)):
        assert f"--param_{parameter}=" in text


def test_guide_names_the_versions_of_the_servers_that_are_tested() -> None:
    text = section("Your own NATS and ClickHouse")
    compose = (servers.ROOT / "deploy" / "compose" / "compose.yaml").read_text()
    (nats,) = re.findall(r":-nats:([\d.]+)-alpine", compose)
    (clickhouse,) = re.findall(r":-clickhouse/clickhouse-server:([\d.]+)\}", compose)
    assert f"tested with {nats}" in text
    assert f"all tests run on {clickhouse}" in text


def test_guide_names_every_volume_and_secret_that_an_uninstallation_leaves() -> None:
    text = section("Uninstalling")
    found = render("dev") + render("external-infra", ("gateway.spool.persistence.enabled=true",))
    sets = of("StatefulSet", found).values()
    claims = {claim["metadata"]["name"] for one in sets for claim in one["spec"]["volumeClaimTemplates"]}
    assert claims == {"spool", "data"}
    for name in claims:
        assert f"`{name}-…`" in text
    assert "Secret" not in {one["kind"] for one in found}, "it would go with the release"
    assert "the secret `metrion`" in text and "`secret-key`" in text


def test_every_file_that_the_guide_links_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", GUIDE.read_text())
    assert len(targets) >= 10
    for target in targets:
        assert (GUIDE.parent / target).exists(), target
