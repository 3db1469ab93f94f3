"""The table of operations: it declares what pages accept, and what it describes is what it does."""

import msgspec

from services.dashboard import filter_params
from services.dashboard.api import openapi, table
from services.dashboard.api.operation import VIEW
from services.dashboard.auth.routes import API_ROUTES, Access
from services.dashboard.mcp import tools


def test_every_filter_of_the_pages_is_a_parameter_of_the_api() -> None:
    names = {parameter.name for parameter in VIEW}
    assert {*filter_params.FILTERS, "period", "from", "to", "tz", "currency", "without", "exclude"} == names


def test_every_operation_has_a_role_and_every_role_an_operation() -> None:
    assert {operation.name for operation in table.OPERATIONS} | {f"GET {table.DESCRIPTION}"} == set(API_ROUTES)


def test_tools_of_assistants_only_read() -> None:
    for tool in tools.TOOLS.values():
        assert tool.operation.method == "GET" and tool.description
        assert API_ROUTES[tool.operation.name] in (Access.VIEWER, Access.ALL_ACCOUNTS)
        assert not {*tool.defaults, *tool.hidden} - {one.name for one in tool.operation.parameters}
        assert not {*tool.hidden} & tool.schema["properties"].keys()


def test_only_reading_is_open_to_keys_that_read() -> None:
    changes = {name for name in API_ROUTES if not name.startswith("GET ")}
    assert {API_ROUTES[name] for name in changes} <= {Access.ADMIN, Access.OPERATOR}


def test_the_description_states_each_operation_once_with_its_types() -> None:
    described = msgspec.json.decode(openapi.document(table.OPERATIONS))
    assert described["openapi"].startswith("3.1")
    operations = [one for path in described["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations) == len(table.OPERATIONS)
    for one in operations:
        assert one["summary"] and {"401", "403", "429", "503"} <= one["responses"].keys()
    schemas = described["components"]["schemas"]
    assert schemas["UsageRow"]["properties"].keys() >= {"group", "cost", "unpriced"}
    assert "secret" not in schemas["TokenInfo"]["properties"]
