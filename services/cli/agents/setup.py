"""Plans the set-up of a coding agent, and its removal."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from services.cli.agents import files
from services.cli.agents.files import Change
from services.cli.errors import Refused
from shared.agent_tools import documents, merge
from shared.agent_tools.catalog import TOOLS
from shared.agent_tools.model import PROXY_PATH, ConfigFile, Tool, Values

PLACEHOLDER = "sk-metrion-…"
ADDRESS = re.compile(rf"(https?://[^\s/]+(?:/\S*?)?){PROXY_PATH}")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f\"'\\$`,#]{1,256}")
_META = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SPACE = r"[\s\ufeff]"
_EMPTY = ("", "{}", "[]", "null", "~")  # what a file without settings may consist of
_MODEL = re.compile(r"[\w./:@+-]{1,128}")


def tool_named(name: str) -> Tool:
    """Return a tool; Refused for an unknown one."""
    if name not in TOOLS:
        raise Refused(f"unknown tool {name!r}; known are {', '.join(TOOLS)}")
    return TOOLS[name]


def gateway_url(text: str) -> str:
    """Return the gateway's URL without the proxy's path; Refused if it is invalid."""
    url = text.rstrip("/").removesuffix(PROXY_PATH)
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or re.search(r"[?#@\s{}\"'\\$`]", url):
        raise Refused(f"{text!r} is not the URL of a gateway, such as http://127.0.0.1:8080")
    if re.search(rf"{PROXY_PATH}(/|$)|/v\d\w*$", url):
        raise Refused(f"{text!r} has a path of an API; give the gateway's URL only, such as http://127.0.0.1:8080")
    return url


def present_gateway(tool: Tool, environ: Mapping[str, str]) -> str:
    """Return the gateway's URL in the tool's files; "" if there is none."""
    for file in files.configured_files(tool, environ):
        path = files.locate(file, environ)
        for _, value in files.edited(path, merge.values_in, file, files.read(path)):
            if found := ADDRESS.match(value):
                return found.group(1)
    return ""


def chosen_files(tool: Tool, *, subscription: bool) -> tuple[ConfigFile, ...]:
    """Return the files to set up; Refused for a subscription that the tool cannot use."""
    if subscription and not tool.subscription:
        raise Refused(f"{tool.title} is set up with a token only")
    return tool.subscription if subscription else tool.files


def chosen_headers(tool: Tool, *, requester: str, meta: Sequence[str]) -> dict[str, str]:
    """Return headers for a requester and KEY=VALUE pairs; Refused for invalid ones."""
    if not tool.sends_headers and (requester or meta):
        raise Refused(f"{tool.title} sends no headers; give it a token of its own: --create-token --requester NAME")
    chosen = {"x-metrion-user": requester} if requester else {}
    for pair in meta:
        name, _, value = pair.partition("=")
        if not _META.fullmatch(name) or not value:
            raise Refused(f"invalid --meta {pair!r}; write KEY=VALUE, KEY of a to z, 0 to 9, - and _")
        chosen[f"x-metrion-meta-{name}"] = value
    for name, value in chosen.items():
        if not _PLAIN.fullmatch(value) or value != value.strip():
            raise Refused(f"{name}: at most 256 characters, without quotes, commas, $, # and backslashes")
    return chosen


def chosen_model(tool: Tool, model: str) -> str:
    """Return the model for a tool; Refused for an invalid name."""
    if model and not tool.model:
        raise Refused(f"the model is chosen in {tool.title} itself")
    if model and not _MODEL.fullmatch(model):
        raise Refused(f"invalid model {model!r}")
    return model or tool.model


def plan(chosen: tuple[ConfigFile, ...], values: Values, environ: Mapping[str, str]) -> list[Change]:
    """Return the files that have to change; [] if all is set up already."""
    changes = []
    for file in chosen:
        path = files.locate(file, environ)
        before = files.read(path)
        after = files.edited(path, merge.configured, file, before, values)
        _check(file, after, values, path=str(path))
        if after != before:
            keep = bool(before) and not merge.is_configured(file, before) and not files.backup_of(path).exists()
            changes.append(Change(path, before, after, keep=keep, secrets=files.secrets_in(file, before)))
    return changes


def plan_removal(tool: Tool, environ: Mapping[str, str]) -> list[Change]:
    """Return the files that have to change to undo the set-up; [] if there is none."""
    if not files.configured_files(tool, environ):
        return []
    changes: dict[str, Change] = {}
    for file in (file for chosen in files.variants(tool) for file in chosen):
        path = files.locate(file, environ)
        known = changes.get(str(path))
        before = files.read(path)
        text = known.after if known else before
        if not text:
            continue
        backup = files.backup_of(path.resolve())
        original = files.read(backup)
        after = files.edited(path, merge.removed, file, text, original)
        if after != before:
            left = _restored(file, after, original) if original else _nothing_left(file, after)
            secrets = files.edited(backup, files.secrets_in, file, original) + (known.secrets if known else ())
            changes[str(path)] = Change(path, before, left, drop=bool(original), secrets=secrets)
    return list(changes.values())


def _restored(file: ConfigFile, text: str, original: str) -> str:
    """Return the original where the text differs in white space or by being written anew only."""
    left = re.sub(_SPACE, "", text)
    same = {re.sub(_SPACE, "", stated) for stated in (original, documents.parse(file.format, original).text)}
    return original if left in same or (left in _EMPTY and same & set(_EMPTY)) else text


def _nothing_left(file: ConfigFile, text: str) -> str:
    """Return "" for a file that has only what a new one begins with."""
    return "" if re.sub(_SPACE, "", text) in (*_EMPTY, re.sub(_SPACE, "", file.initial)) else text


def _check(file: ConfigFile, text: str, values: Values, *, path: str) -> None:
    """Refused if the text does not say what was to be written, whatever the reason."""
    try:
        document = documents.parse(file.format, text)
        said = all(
            document.get(setting.path) == values.fill(setting.value)
            for setting in file.flat()
            if isinstance(setting.value, str)
        )
    except ValueError:
        said = False
    if not said:
        raise Refused(f"{path} cannot be edited; use --print and edit it by hand")
