"""Checks that no event is stuck in a gateway, missing or stored twice."""

from typing import Any

from tests.clients.sdk import Road
from tests.support import servers
from tests.support.system import System


def row_of(metrion: System, road: Road) -> dict[str, Any]:
    """The one row of a requester that asked once."""
    found = metrion.wait_for_rows(1, f"requester = '{road.user}'")
    assert len(found) == 1, found
    return found[0]


def usage_of(row: dict[str, Any]) -> tuple[int, int] | None:
    """Input and output as recorded; None when the provider said nothing of them."""
    return None if row["usage_source"] == "absent" else (row["input_tokens"], row["output_tokens"])


def assert_whole(metrion: System) -> None:
    """No request is open any more, the gateway is ready, and `metrion completeness` finds nothing missing."""
    servers.wait_for(lambda: _open(metrion) == 0, "the gateway's open requests")
    servers.wait_for(metrion.gateway.ready, "the gateway to be ready")
    reader = metrion.clickhouse.url("reader")
    servers.wait_for(
        lambda: not metrion.metrion("completeness", "--since", "1h", METRION_CLICKHOUSE_URL=reader).returncode,
        "completeness",
        explain=lambda: metrion.clickhouse.query("SELECT * FROM metrion.gateways FORMAT Vertical"),
    )


def _open(metrion: System) -> float:
    return sum(map(metrion.gateway.metric, ("metrion_gateway_active_requests", "metrion_gateway_draining")))
