"""Asking an OpenAI-style stream for its usage in the client's stead, and taking out again exactly what that adds."""

import json
import re

import msgspec

_SPLICE = b'"stream_options":{"include_usage":true}'
_PLAIN = b',"usage":null'
# As the last or last but one field of an event it is at the top level: the brace after it ends the event.
_CLOSING_NULL = re.compile(rb',"usage":null(?=(?:,"obfuscation":"[^"\\\n]*")?\}\n\n)')
_NULL_USAGE = re.compile(rb'\s*,\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,\s*')


class Chunk(msgspec.Struct):
    """Of a stream's chunk only what tells the added one from the others."""

    choices: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()


class _Options(msgspec.Struct):
    include_usage: bool | None = None


_chunk = msgspec.json.Decoder(Chunk)
_options = msgspec.json.Decoder(_Options)


def ask(body: bytes, options: bytes) -> bytes | None:
    """The body with include_usage set; None when it is to stay: the client asked itself, or it can't be read.

    `options`: the body's stream_options as raw JSON, b"" when it has none; then all other bytes stay as they are.
    """
    if not options:
        start = body.index(b"{") + 1
        comma = b"" if body[start:].lstrip()[:1] == b"}" else b","
        return body[:start] + _SPLICE + comma + body[start:]
    try:
        if options != b"null" and _options.decode(options).include_usage:
            return None
        document = json.loads(body)
    except (msgspec.MsgspecError, ValueError):
        return None
    document["stream_options"] = {**(document["stream_options"] or {}), "include_usage": True}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class Remover:
    """Network chunks in, the client's bytes out: without the extra chunk and the `"usage":null` fields of the others.

    Holds back at most one unfinished line, so the stream stays as lively as it came.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._skip_blank = False

    def feed(self, data: bytes) -> bytes:
        """What the client may have of `data` and of what was held back; b"" when nothing is complete."""
        if self._rest:
            data = self._rest + data
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        block = data[:cut] if self._rest else data
        if not self._skip_blank:
            if b'"usage"' in block:
                block = _CLOSING_NULL.sub(b"", block)
            at = block.find(b'"usage"')
            if at < 0:
                return block
            start = block.rfind(b"\n", 0, at) + 1  # what comes before the line in question passes as it is
            if start:
                return block[:start] + self._block(block[start:])
        return self._block(block)

    def _block(self, block: bytes) -> bytes:
        if block.endswith(b"\n\n") and block.count(b"\n") == 2 and not self._skip_blank:  # one event: the usual
            kept = self._line(block[:-1])
            self._skip_blank = False  # its blank line is here
            return kept + b"\n" if kept else b""
        return b"".join([kept for line in block.splitlines(keepends=True) if (kept := self._line(line))])

    def end(self) -> bytes:
        """What was held back when the stream ended."""
        rest, self._rest = self._rest, b""
        return self._line(rest) if rest else b""

    def _line(self, line: bytes) -> bytes:
        if self._skip_blank:
            self._skip_blank = False
            if not line.strip():
                return b""
        if b'"usage"' not in line or not line.startswith(b"data:"):
            return line
        try:
            chunk = _chunk.decode(line[5:])
        except msgspec.MsgspecError:
            return line
        usage = bytes(chunk.usage)
        if usage[:1] == b"{" and bytes(chunk.choices).replace(b" ", b"") == b"[]":
            self._skip_blank = True
            return b""
        return _without_null_usage(line) if usage == b"null" else line


def _without_null_usage(line: bytes) -> bytes:
    """Cut the top-level `"usage":null` out of a data line that has one."""
    if line.count(b'"usage"') == 1 and _PLAIN in line:
        return line.replace(_PLAIN, b"")
    matches = list(_NULL_USAGE.finditer(line))
    if len(matches) != 1:  # a nested object has such a field too: find the one at depth 1
        matches = [match for match in matches if _depth(line, line.index(b'"usage"', match.start())) == 1][:1]
    if not matches:
        return line
    return line[: matches[0].start()] + line[matches[0].end() :]


def _depth(line: bytes, position: int) -> int:
    """How many objects and arrays are open at `position`, braces inside strings not counted."""
    outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", line[:position])
    return sum(outside.count(c) for c in (b"{", b"[")) - sum(outside.count(c) for c in (b"}", b"]"))
