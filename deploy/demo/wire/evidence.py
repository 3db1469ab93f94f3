"""A scene in, the evidence that a gateway would have picked out of its answer out: for a past that nobody answered."""

import msgspec

from deploy.demo.kinds import COUNT, IMAGES, RESPONSES, Kind
from deploy.demo.scene import ERROR_MIDWAY, REFUSALS, Scene
from deploy.demo.wire.counts import Object
from deploy.demo.wire.document import document
from deploy.demo.wire.failure import failure, midway
from deploy.demo.wire.stream import events
from shared.contract import Evidence

# As services.gateway.evidence.Pick and what it keeps inside; a test holds the two against each other.
_KEYS = ("model", "modelVersion", "usage", "usageMetadata", "service_tier", "error", "type", "code", "object", "status")
_INSIDE = {"message": ("id", "model", "usage"), "response": ("id", "model", "usage", "service_tier", "status", "error")}

_encode = msgspec.json.Encoder().encode


def evidence(kind: Kind, scene: Scene, *, model: str, stream: bool, name: str) -> Evidence:
    """What is picked from the whole answer, or from what came of it."""
    if scene.fate in REFUSALS:
        return Evidence(picks=(_pick(failure(kind.provider, scene.fate)[2]),))
    if kind.style == COUNT:
        return Evidence(picks=(b"{}",))
    if not stream:
        found = [document(kind, scene, model=model, text="", name=name)]
    else:
        found = _lines(kind, scene, model=model, name=name)
    notes = {"quality": "medium", "size": "1024x1024"} if kind.style == IMAGES else {}
    return Evidence(picks=tuple(map(_pick, found)), tools=_tools(kind, scene), request=notes)


def _lines(kind: Kind, scene: Scene, *, model: str, name: str) -> list[Object]:
    """The first line, an error line, and the last one with usage."""
    whole = events(kind, scene, model=model, pieces=("",), name=name)
    lines = [event for event in whole if isinstance(event, dict)]
    if scene.fate == ERROR_MIDWAY:
        return [lines[0], midway(kind.provider)]
    if scene.fate != "answered":
        return lines[:1]
    bearing = [line for line in lines if _bears_usage(line)]
    return [lines[0], *(line for line in bearing[-1:] if line is not lines[0])]


def _bears_usage(line: Object) -> bool:
    inside = line.get("response") or {}
    return any(isinstance(one, dict) for one in (line.get("usage"), line.get("usageMetadata"), inside.get("usage")))


def _tools(kind: Kind, scene: Scene) -> dict[str, int]:
    """Billable calls that only counting finds."""
    tools = scene.usage.tools
    if kind.style == RESPONSES and kind.provider == "openai" and "web_search" in tools:
        return {"web_search_call.search": tools["web_search"]}
    return {"google_search": tools["google_search"]} if "google_search" in tools else {}


def _pick(found: Object) -> bytes:
    picked = {key: found[key] for key in _KEYS if key in found}
    for key, names in _INSIDE.items():
        inside = found.get(key)
        if isinstance(inside, dict):
            picked[key] = {name: inside[name] for name in names if name in inside}
        elif isinstance(inside, str) and key == "message":
            picked[key] = inside
    return _encode(picked)
