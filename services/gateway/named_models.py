"""The models that a JSON request names, wherever a provider may look for one."""

import re

import msgspec

from services.gateway import strict_json
from services.gateway.strict_json import Ambiguous, fold

# Members under which servers take a model's name; compared by strict_json.fold.
_ALIASES = frozenset({"engine", "modelid", "modelname", "deployment", "deploymentid"})
# Members that list further models, to fall back to.
_LISTS = frozenset({"models", "fallbacks", "fallbackmodels"})
# Members that name something stored, which names a model of its own.
_STORED = frozenset({"agent", "agentid", "assistantid", "promptid"})
_UNUSUAL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")
_MAX_TOOLS = 1000
_MAX_DEPTH = 4  # of tools in tools
_LONGEST = 256

_string = msgspec.json.Decoder(str)
_list = msgspec.json.Decoder(list[msgspec.Raw])


class Unreadable(ValueError):
    """It cannot be told which model a request is for; the message says why."""


class Named(msgspec.Struct):
    """What a request names. `is_stored`: also something stored that may name a model."""

    models: list[str]
    is_stored: bool = False


def read(text: bytes, *, is_response: bool, required: bool) -> Named:
    """The models in a JSON body; Unreadable when parsers differ in it, or it names none although one is `required`.

    `is_response`: a call of the Responses API, whose `prompt` refers to a stored one.
    """
    try:
        members = strict_json.read(text)
        return _named(members, is_response=is_response, required=required)
    except Ambiguous as error:
        raise Unreadable(error) from None


def is_plain(name: str) -> bool:
    """Whether a model's name has only characters that every server takes as they are."""
    return 0 < len(name) <= _LONGEST and name == name.strip() and not _UNUSUAL.search(name)


def _named(members: dict[str, bytes], *, is_response: bool, required: bool) -> Named:
    found = Named([])
    spellings = [name for name in members if fold(name) == "model"]
    if len(spellings) > 1 or (spellings and spellings != ["model"]):
        raise Unreadable("it names the model in several spellings")
    if spellings:
        found.models.append(_name(members["model"]))
    elif required:
        raise Unreadable("the body names no model")
    for name, value in members.items():
        folded = fold(name)
        if value == b"null":
            continue
        if folded in _ALIASES:
            found.models.append(_name(value))
        elif folded in _LISTS:
            found.models += [_name_of(one) for one in _items(value)]
        elif folded in _STORED or (folded == "prompt" and is_response):
            found.is_stored = True
        elif folded == "tools":
            found.models += _of_tools(value)
    return found


def _of_tools(value: bytes, *, depth: int = 0) -> list[str]:
    """Models that hosted tools run: an advisor, an image generator, also one in a namespace of tools."""
    if depth > _MAX_DEPTH:
        raise Unreadable("its tools are nested too deeply")
    names = []
    for tool in _items(value):
        if tool[:1] == b"{":
            for name, found in strict_json.read(tool).items():
                if fold(name) == "model":
                    names.append(_name(found))
                elif fold(name) == "tools" and found[:1] == b"[":
                    names += _of_tools(found, depth=depth + 1)
    return names


def _items(value: bytes) -> list[bytes]:
    try:
        items = _list.decode(value)
    except msgspec.MsgspecError:
        raise Unreadable("a list of models or tools is none") from None
    if len(items) > _MAX_TOOLS:
        raise Unreadable("it has too many tools")
    return [bytes(one) for one in items]


def _name_of(value: bytes) -> str:
    """A model in a list: its name, or an object that names it."""
    if value[:1] != b"{":
        return _name(value)
    members = strict_json.read(value)
    names = [one for name, one in members.items() if fold(name) == "model"]
    if len(names) != 1:
        raise Unreadable("a model in a list has no name")
    return _name(names[0])


def _name(value: bytes) -> str:
    try:
        return _string.decode(value)
    except msgspec.MsgspecError:
        raise Unreadable("the model is not a string") from None
