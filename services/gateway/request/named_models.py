"""Models that a JSON request names, wherever a provider may look for one."""

import re
from typing import NoReturn

import msgspec

from services.gateway.parsing import json_skeleton, strict_json
from services.gateway.parsing.strict_json import Ambiguous
from services.gateway.request import model_places
from services.gateway.request.model_places import fold
from shared.rights import STORED

_UNUSUAL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")
_MAX_VALUES = 20_000  # objects and list items that are searched
_MAX_DEPTH = 12
_LONGEST = 256

_string = msgspec.json.Decoder(str)
_list = msgspec.json.Decoder(list[msgspec.Raw])


class Unreadable(ValueError):
    """The model of a request is ambiguous; the message says why."""


class Named(msgspec.Struct):
    """Models that a request names, and rights that it needs.

    Rights are needed for references to stored objects that name a model of their own.
    """

    models: list[str] = []
    needed: set[str] = set()


def read(text: bytes, *, is_response: bool, required: bool, reads_labels: bool = False) -> Named:
    """Find the models in a JSON body; Unreadable if parsers disagree about it.

    Also Unreadable if a model is `required` and none is named. `is_response`: a call of the Responses API, whose
    `prompt` refers to a stored one. `reads_labels`: the provider may choose the model by `metadata` or `labels`.
    """
    search = _Search(is_response=is_response, reads_labels=reads_labels)
    try:
        members = strict_json.read(_checked_part(text))
        spellings = [name for name in members if fold(name) == "model"]
        if len(spellings) > 1 or (spellings and spellings != ["model"]):
            raise Unreadable("it names the model in several spellings")
        if required and members.get("model", b"null") == b"null":
            raise Unreadable("the body names no model")
        search.members(members, (), depth=0)
    except Ambiguous as error:
        raise Unreadable(error) from None
    return search.named


def _checked_part(text: bytes) -> bytes:
    """What is checked of a text: of a large one its skeleton, which has all of its names and models."""
    if len(text) <= json_skeleton.MAX_WHOLE:
        return text
    strict_json.check_encoding(text)
    skeleton = json_skeleton.of_request(text, drops_numbers=False)
    if skeleton is None:
        raise Unreadable("it has too many members or numbers to be checked")
    return skeleton


def read_field(name: str, value: bytes) -> Named:
    """Find the models in a form field that some servers parse as JSON.

    Unreadable like `read`.
    """
    search = _Search(is_response=False)
    try:
        search.member(name, value.strip(b" \t\r\n"), (), depth=0)
    except Ambiguous as error:
        raise Unreadable(error) from None
    return search.named


def is_plain(name: str) -> bool:
    """Whether a model's name has only characters that every server reads alike."""
    return 0 < len(name) <= _LONGEST and name == name.strip() and not _UNUSUAL.search(name)


class _Search:
    """Recursive search of a request by the tables of `model_places`."""

    def __init__(self, *, is_response: bool, reads_labels: bool = False) -> None:
        self.named = Named()
        self._reads_labels = reads_labels
        self._is_response = is_response
        self._left = _MAX_VALUES

    def members(
        self, members: dict[str, bytes], path: tuple[str, ...], *, depth: int, are_models: bool = False
    ) -> None:
        """Search an object. `path`: the folded names above it. `are_models`: each string in it is a model."""
        is_own_tool = all(_is_own_type(value) for name, value in members.items() if fold(name) == "type")
        for name, value in members.items():
            if not model_places.is_plain(name):
                raise Unreadable("the name of a member has unusual characters")
            if are_models:
                self._value(value, path, depth=depth + 1, are_models=True)
            else:
                self.member(name, value, path, depth=depth, is_own_tool=is_own_tool)

    def member(self, name: str, value: bytes, path: tuple[str, ...], *, depth: int, is_own_tool: bool = False) -> None:
        """Classify one member: a model, a stored object, free text, or something to search further.

        `is_own_tool`: if it is a tool's, the caller runs the tool.
        """
        folded = fold(name)
        here = path if path[-1:] == (folded,) else (*path, folded)  # tools in tools are tools
        is_label = len(here) == 1 and folded in model_places.LABELS and self._reads_labels
        place = ".".join(here)
        is_free = place in model_places.FREE_TEXT or (is_own_tool and place in model_places.FREE_TEXT_OF_OWN_TOOLS)
        if value == b"null" or (is_free and not is_label):
            return
        if right := self._right_for(folded, value, path):
            self.named.needed.add(right)
        elif folded in model_places.ONE_MODEL or (not path and folded in model_places.ONE_MODEL_AT_TOP):
            self.named.models.append(_name(value))
        elif folded in model_places.MODELS:
            self._list_of_models(value)
        elif folded in model_places.NESTED_REQUESTS:
            self._value(value, (), depth=depth + 1)
        else:
            self._value(value, here, depth=depth + 1, are_models=model_places.is_like_model(folded))

    def _right_for(self, folded: str, value: bytes, path: tuple[str, ...]) -> str:
        """The right that a member needs; "" for none."""
        if folded == model_places.PROMPT and (value[:1] == b"{" or (self._is_response and not path)):
            return STORED
        if path[:1] and path[0] in model_places.LABELS:
            return ""
        return model_places.right_for(folded)

    def _value(self, value: bytes, path: tuple[str, ...], *, depth: int, are_models: bool = False) -> None:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            _too_much()
        first = value[:1]
        if first == b"{":
            self.members(strict_json.read(value), path, depth=depth, are_models=are_models)
        elif first == b"[" and (are_models or b"{" in value):
            for item in _items(value):
                self._value(item, path, depth=depth + 1, are_models=are_models)
        elif first == b'"' and are_models:
            self.named.models.append(_name(value))

    def _list_of_models(self, value: bytes) -> None:
        """Read a list of models: names, or objects with a `model`."""
        for item in _items(value):
            if item[:1] != b"{":
                self.named.models.append(_name(item))
                continue
            members = strict_json.read(item)
            if sum(1 for name in members if fold(name) == "model") != 1:
                raise Unreadable("a model in a list has no name")
            self.members(members, ("models",), depth=1)


def _items(value: bytes) -> list[bytes]:
    try:
        items = _list.decode(value)
    except msgspec.MsgspecError:
        raise Unreadable("a list of models is not a list") from None
    if len(items) > _MAX_VALUES:
        _too_much()
    return [bytes(item) for item in items]


def _is_own_type(value: bytes) -> bool:
    """Whether tools of this type are run by the caller."""
    return value == b"null" or value.strip(b'"').decode("latin-1") in model_places.OWN_TOOLS


def _name(value: bytes) -> str:
    try:
        return _string.decode(value)
    except msgspec.MsgspecError:
        raise Unreadable("the model is not a string") from None


def _too_much() -> NoReturn:
    raise Unreadable("it has too many members or tools, or they are nested too deeply")
