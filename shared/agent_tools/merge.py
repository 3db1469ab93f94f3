"""Puts a tool's settings into the text of a file, and takes them out again."""

import re
from collections.abc import Iterator, Mapping

from shared.agent_tools import documents
from shared.agent_tools.documents import Document
from shared.agent_tools.model import PROXY_PATH, ConfigFile, Headers, HeaderStyle, Path, Setting, Values

METRION_HEADER = "x-metrion-"
TOKEN = re.compile(r"sk-metrion-[0-9a-f]{32}")
_PATTERNS = {"{proxy}": rf"https?://\S+?{PROXY_PATH}", "{token}": TOKEN.pattern, "{model}": r"\S*"}


def configured(file: ConfigFile, text: str, values: Values) -> str:
    """Return the text with the file's settings in it; unchanged if they are.

    Without headers in `values`, those of Metrion that are there stay. Raises ValueError for a malformed file.
    """
    document = documents.parse(file.format, text or file.initial)
    before = document.text if text else ""
    for path, value in _wanted(document, file, values):
        if document.get(path) != value:
            document.set(path, value)
    return text if document.text == before else document.text


def removed(file: ConfigFile, text: str, original: str) -> str:
    """Return the text without the file's settings, and with what they replaced.

    `original`: the text before the first set-up, or "". What the user has changed since stays.
    """
    document = documents.parse(file.format, text)
    earlier = documents.parse(file.format, original)
    before = document.text
    for setting in file.flat():
        if isinstance(setting.value, Headers):
            _remove_headers(document, setting.path, setting.value.style)
        elif _may_be_written_here(document.get(setting.path), setting.value):
            _restore(document, setting.path, earlier.get(setting.path))
    return text if document.text == before else document.text.rstrip() + "\n"


def is_configured(file: ConfigFile, text: str) -> bool:
    """Whether a file has an address or a token of Metrion where the tool reads it."""
    document = documents.parse(file.format, text)
    return any(
        _may_be_written_here(document.get(setting.path), setting.value)
        for setting in file.flat()
        if isinstance(setting.value, str) and re.search(r"\{(proxy|token)\}", setting.value)
    )


def values_in(file: ConfigFile, text: str) -> list[tuple[Setting, str]]:
    """Return the file's settings with their present values; headers as one line each."""
    document = documents.parse(file.format, text)
    found = []
    for setting in file.flat():
        if isinstance(setting.value, Headers):
            headers = _headers_in(document, setting.path, setting.value.style)
            found.append((setting, HeaderStyle.LINES.join(headers)))
        elif (value := document.get(setting.path)) is not None:
            found.append((setting, str(value)))
    return found


def _wanted(document: Document, file: ConfigFile, values: Values) -> Iterator[tuple[Path, str | bool]]:
    for setting in file.flat():
        if not isinstance(setting.value, Headers):
            yield setting.path, values.fill(setting.value) if isinstance(setting.value, str) else setting.value
            continue
        style = setting.value.style
        present = _headers_in(document, setting.path, style)
        fixed = {name: values.fill(value) for name, value in setting.value.fixed.items()}
        ours = {name: value for name, value in present.items() if name.startswith(METRION_HEADER)}
        others = {name: value for name, value in present.items() if name not in ours}
        headers = others | fixed | (dict(values.headers) or {n: v for n, v in ours.items() if n not in fixed})
        if style is HeaderStyle.MAP:
            yield from (((*setting.path, name), value) for name, value in headers.items())
        elif headers:
            yield setting.path, style.join(headers)


def _headers_in(document: Document, path: Path, style: HeaderStyle) -> dict[str, str]:
    value = document.get(path)
    if isinstance(value, Mapping):
        return {str(name): str(text) for name, text in value.items()}
    return style.split(str(value)) if isinstance(value, str) and style is not HeaderStyle.MAP else {}


def _remove_headers(document: Document, path: Path, style: HeaderStyle) -> None:
    headers = _headers_in(document, path, style)
    ours = [name for name in headers if name.startswith(METRION_HEADER)]
    if not ours:
        return
    if style is HeaderStyle.MAP:
        for name in ours:
            document.delete((*path, name))
        return
    others = {name: value for name, value in headers.items() if name not in ours}
    if others:
        document.set(path, style.join(others))
    else:
        document.delete(path)


def _may_be_written_here(value: object, template: str | bool) -> bool:
    """Whether a value is one that this template could have written."""
    if value is None:
        return False
    if isinstance(template, bool):
        return value is template
    pattern = re.escape(template)
    for name, possible in _PATTERNS.items():
        pattern = pattern.replace(re.escape(name), possible)
    return re.fullmatch(pattern, str(value)) is not None


def _restore(document: Document, path: Path, earlier: object) -> None:
    if isinstance(earlier, str | bool):
        document.set(path, earlier)
    else:
        document.delete(path)
