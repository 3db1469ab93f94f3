"""Parameters and bodies of requests to the API, checked as they are declared."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from services.dashboard import app_context, page_params, request_body
from services.dashboard.api import idempotency
from services.dashboard.api.operation import Operation
from services.dashboard.metrics import Handler
from services.dashboard.page_params import View

T = TypeVar("T")
IDEMPOTENT = ("POST", "PUT")  # methods that an idempotency key makes safe to repeat
_JSON = "application/json"


def checked(operation: Operation) -> Handler:
    """Return the handler of an operation, which refuses undeclared parameters."""
    known = {parameter.name: parameter for parameter in operation.parameters if parameter.place == "query"}

    async def handle(request: web.Request) -> web.StreamResponse:
        for name in request.query:
            if name not in known:
                documented = [one.name for one in known.values() if one.is_documented]
                valid = f"Valid are: {', '.join(documented)}." if documented else "There are none here."
                raise web.HTTPBadRequest(text=f"Unknown parameter {name!r}. {valid}")
            values = request.query.getall(name)
            schema = known[name].schema
            if len(values) > 1 and schema["type"] != "array":
                raise web.HTTPBadRequest(text=f"The parameter {name} is stated {len(values)} times.")
            for value in values:
                _check(name, value, schema.get("items", schema))
        if operation.method in IDEMPOTENT:
            return await idempotency.once(request, operation.handler)
        return await operation.handler(request)

    return handle


def _check(name: str, value: str, schema: Mapping[str, Any]) -> None:
    """Raise 400 for a value that the schema does not allow; "" stands for the default, as on pages."""
    if not value:
        return
    if schema["type"] == "integer":
        is_number = value.isascii() and value.isdecimal() and len(value) <= 9
        if not is_number or not schema["minimum"] <= int(value) <= schema["maximum"]:
            allowed = f"{schema['minimum']} to {schema['maximum']}"
            raise web.HTTPBadRequest(text=f"{name} is a whole number from {allowed}, not {value!r}.")
    elif "enum" in schema and value not in schema["enum"]:
        raise web.HTTPBadRequest(text=f"Invalid {name} {value!r}. Use {', '.join(schema['enum'])}.")


def number(request: web.Request, name: str, default: int) -> int:
    """Return a whole number that `checked` has accepted."""
    return int(request.query.get(name) or default)


def require_account(request: web.Request, account: str) -> None:
    """Raise 403 for an account that the caller may not see; "" is all that they see."""
    if app_context.user(request).account not in ("", account) and account:
        raise web.HTTPForbidden(text="You don't have access to this account.")


async def view(request: web.Request) -> View:
    """Parse the view as pages do; 400 if it is invalid, 403 for another account."""
    require_account(request, request.query.get("account", ""))
    return await page_params.parse_params(request)


def view_without_rollup(request: web.Request) -> View:
    """Parse the view for queries that do not read the rollup."""
    require_account(request, request.query.get("account", ""))
    return page_params.parse_request(request)


async def body(request: web.Request, kind: type[T]) -> T:
    """Decode the JSON body; 400 if it is invalid, 415 if it is something else."""
    if request.content_type != _JSON:
        raise web.HTTPUnsupportedMediaType(text=f"Send the body as {_JSON}.")
    try:
        return msgspec.json.decode(await request_body.read(request), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise web.HTTPBadRequest(text=f"Invalid body: {error}.") from None


def failed(failure: str) -> web.HTTPException:
    """Return the error of a query that failed."""
    return web.HTTPServiceUnavailable(text=failure)
