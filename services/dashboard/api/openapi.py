"""The API's description as OpenAPI 3.1, from its operations and their types."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from services.dashboard.api import idempotency, params, problem
from services.dashboard.api.formats import Format
from services.dashboard.api.operation import ROOT, Operation, Parameter
from services.dashboard.api.problem import Problem
from services.dashboard.auth.routes import API_ROUTES, Access
from shared.version import VERSION

_INTRODUCTION = """Figures, filters and time zones are those of the dashboard's pages and of `metrion report`.
The query string of a page's URL works here, too. Amounts are strings with every digit.
Operations with rows also return NDJSON and CSV, by the Accept header or a suffix of the path such as `.csv`."""
_ALWAYS = (400, 401, 403, 405, 406, 429, 503)  # problems that any operation may have
_WITH_BODY = (408, 413, 415)
_OF_CHANGES = (404, 409, 422)
_IDEMPOTENCY = Parameter(
    idempotency.HEADER,
    "A unique text for each creation. The same request with the same key is not carried out again within "
    "24 hours, but answered with the first response.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    place="header",
)
_ROLES = {
    Access.ANYBODY: "No API key required.",
    Access.VIEWER: "Any key.",
    Access.ALL_ACCOUNTS: "An API key of all accounts.",
    Access.ADMIN: "A key with the role `admin`.",
    Access.OPERATOR: "A key with the role `admin`, of all accounts.",
}


def document(operations: Sequence[Operation]) -> bytes:
    """Return the description of these operations as JSON."""
    kinds = {kind for one in operations for kind in (one.response, one.body) if kind is not None} | {Problem}
    ordered = sorted(kinds, key=repr)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(ROOT + one.path, {})[one.method.lower()] = _described(one, by_kind)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Metrion", "version": VERSION, "description": _INTRODUCTION},
            "security": [{"key": []}, {"session": []}],
            "tags": [{"name": name} for name in dict.fromkeys(one.tag for one in operations)],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "key": {"type": "http", "scheme": "bearer", "description": "An API key: sk-metrion-api-…"},
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "metrion",
                        "description": "A session of the dashboard; only for GET.",
                    },
                },
            },
        }
    )


def _described(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    access = API_ROUTES[operation.name]
    found: dict[str, Any] = {
        "operationId": _identifier(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": " ".join(filter(None, (operation.description, _ROLES[access]))),
        "parameters": [_parameter(one) for one in _declared(operation) if one.is_documented],
        "responses": _responses(operation, schemas),
    }
    if access is Access.ANYBODY:
        found["security"] = []
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[operation.body]}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _declared(operation: Operation) -> Iterable[Parameter]:
    """Yield all parameters, those in the path first."""
    declared = {one.name: one for one in operation.parameters if one.place == "path"}
    for name in operation.names_in_path:
        yield declared.get(name, Parameter(name, f"Name of the {name}.", place="path"))
    yield from (one for one in operation.parameters if one.place != "path")
    if operation.method in params.IDEMPOTENT:
        yield _IDEMPOTENCY


def _parameter(parameter: Parameter) -> dict[str, Any]:
    found = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    return found | ({"required": True} if parameter.place == "path" else {})


def _responses(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    if operation.response is not None:
        done["content"] = {"application/json": {"schema": schemas[operation.response]}}
    if operation.files:
        done["content"] = {name: {"schema": {"type": "string"}} for name in operation.files}
    if operation.row is not None:
        done["content"] |= {one.value: {"schema": {"type": "string"}} for one in Format if one is not Format.JSON}
    responses = {str(operation.status): done}
    if operation.method == "GET" and operation.response is not None:
        responses["304"] = {"description": "The client's copy (If-None-Match) is current."}
    extra = [*operation.problems]
    extra += _WITH_BODY if operation.body is not None else ()
    extra += _OF_CHANGES if operation.method != "GET" else (404,) if "{account}" in operation.path else ()
    failed = {problem.CONTENT_TYPE: {"schema": schemas[Problem]}}
    for status in sorted({*_ALWAYS, *extra}):
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": failed}
    return responses


def _identifier(operation: Operation) -> str:
    words = [word.strip("{}") for word in operation.path.strip("/").replace(".", "/").replace("-", "/").split("/")]
    return operation.method.lower() + "".join(word[:1].upper() + word[1:] for word in words)
