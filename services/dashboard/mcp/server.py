"""The MCP server: lists tools and translates each tool call to a call of the API.

Importing this module takes seconds and 50 MB, which is why `http` imports it late: the `mcp` package builds validators
for every message of two versions of the protocol.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from services.dashboard import app_context
from services.dashboard.api.problem import Problem
from services.dashboard.auth.routes import API_ROUTES
from services.dashboard.mcp import tools
from services.dashboard.mcp.caller import Caller, Get
from shared.version import VERSION

MOST_CHARACTERS = 100_000  # of an answer; some 30,000 tokens
_MOST_OF_REASON = 500  # characters
_TOO_LONG = "The result has {0} characters, but at most {1} are allowed. Narrow the period, filter, group by \
fewer dimensions, or set a smaller limit."

Context = ServerRequestContext[Any, Any]


def build(caller_of: Callable[[Context], Caller]) -> Server[Any]:
    """Return the server. `caller_of`: who sent a message."""

    async def list_tools(context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
        user = caller_of(context).user
        allowed = [one for one in tools.TOOLS.values() if app_context.may(API_ROUTES[one.operation.name], user)]
        return ListToolsResult(tools=[_described(one) for one in allowed])

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        tool = tools.TOOLS.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool {params.name!r:.80}. There are: {', '.join(tools.TOOLS)}.")
        return await _call(tool, params.arguments or {}, caller_of(context).get)

    return Server(
        "metrion",
        version=VERSION,
        title="Metrion",
        instructions=tools.INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _call(tool: tools.Tool, arguments: dict[str, Any], get: Get) -> CallToolResult:
    try:
        status, body = await get(tool.url(arguments))
    except tools.BadArguments as error:
        return _result(str(error), is_error=True)
    text = body.decode(errors="replace")
    if status != HTTPStatus.OK:
        return _result(_reason(text), is_error=True)
    if len(text) > MOST_CHARACTERS:
        return _result(_TOO_LONG.format(len(text), MOST_CHARACTERS), is_error=True)
    return _result(text)


def _result(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)


def _reason(text: str) -> str:
    """Return why a request was refused; a proxy in front of the dashboard may state it in another format."""
    try:
        return msgspec.json.decode(text, type=Problem).detail
    except msgspec.MsgspecError:
        return text[:_MOST_OF_REASON]


def _described(tool: tools.Tool) -> Tool:
    return Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.schema,
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
