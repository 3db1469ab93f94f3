"""Incremental parser of multipart forms: their `model` and `stream` fields.

It parses a form in two ways. `fields` is a lenient reading, for accounting. `doubt` says, for permissions, why another
server might read the form differently; servers differ in line ends, quoting, repeated fields and file names.
"""

import re
from urllib.parse import unquote_to_bytes

from services.gateway.request import model_places, named_models
from services.gateway.request.named_models import Unreadable
from shared.rights import STORED

WANTED = frozenset({"model", "stream"})
_MAX_PART = 2048  # bytes of a part's headers and value together; a longer part is a file
_MAX_PARTS = 256  # delimiters, or what looks like one, that are examined: 5 ms at most
_MAX_PADDING = 64  # bytes that may stand between a delimiter and its line end

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^";,\s]{1,70}))', re.IGNORECASE)
_PLAIN_CONTENT_TYPE = re.compile(
    r"""multipart/form-data;[ ]?boundary=(?:"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]"|[0-9A-Za-z'+_.=-]+)""",
    re.IGNORECASE,
)
_AFTER = re.compile(rb"(--)|[ \t]*+(\r?\n)")
_UNFINISHED = re.compile(rb"-?|[ \t]*+\r?")

_LINE_END = re.compile(rb"\r\n|\n")
_FOLD = re.compile(rb"\r?\n[ \t]++")
_PARAMETER = re.compile(rb""";\s*+([\w*'-]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|'([^']*+)'|([^;\s]*+))""")
_QUOTED_PAIR = re.compile(rb"\\(.)")

# The headers that clients write, one line each.
_PLAIN_HEADER = re.compile(
    rb"(?:content-disposition: ?form-data"
    rb'(?P<name>; ?name=(?:"[\w.\[\]-]+"|[\w.-]+))(?P<file>; ?filename="[^"\\\x00-\x1f]*")?'
    rb"(?P<extended>; ?filename\*=utf-8''[\w.%~-]+)?"
    rb"|(?P<type>content-type): ?[^\x00-\x1f]*|content-length: ?\d+|content-transfer-encoding: ?(?:7bit|8bit|binary))",
    re.IGNORECASE | re.ASCII,
)
_PLAIN_TEXT = re.compile(rb"content-type: ?text/plain(?:; ?charset=\"?(?:utf-8|us-ascii)\"?)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Form:
    """Parser of one form as it streams through; keeps at most a few KB of it."""

    def __init__(self, content_type: str) -> None:
        self.fields: dict[str, str] = {}  # values so far, the first of each name
        self.doubt = "" if _PLAIN_CONTENT_TYPE.fullmatch(content_type) else "its Content-Type is unusual"
        self.needed: set[str] = set()  # rights for objects that fields refer to: a stored prompt, an agent
        self.closed = False  # after the last delimiter
        self.unread = False  # too many parts: the rest is not parsed
        match = _BOUNDARY.search(content_type)
        boundary = (match[1] or match[2] or "").strip() if match else ""
        self._token = b"--" + boundary.encode("utf-8", "replace") if boundary else b""
        self._rest = b""
        self._offset = 0  # of `_rest` within the form
        self._begun = False  # after the first delimiter
        self._inside = False  # `_rest` begins with a part that is not known to be a file
        self._named = 0  # parts that may be a model's name
        self._parts = 0

    def feed(self, data: bytes) -> None:
        """Parse the next chunk."""
        if self._is_over() or not self._token:
            if self.closed:
                self._end(data)
            return
        data = self._rest + data
        consumed = self._delimiters(data)
        if self._is_over():
            self._rest = b""
            return
        if self._inside and len(data) - consumed > _MAX_PART:
            self._part(data[consumed : consumed + _MAX_PART], whole=False)
            self._inside = False
        # What may be the beginning of a delimiter, with the line end before it.
        tail = len(self._token) + _MAX_PADDING + 2
        keep_from = consumed if self._inside else max(consumed, len(data) - tail)
        self._rest = data[keep_from:]
        self._offset += keep_from

    @property
    def model(self) -> str:
        """The model named so far; "" if none was."""
        return self.fields.get("model", "")

    def _is_over(self) -> bool:
        return self.closed or self.unread

    def _delimiters(self, data: bytes) -> int:
        """Parse the parts that end with a delimiter in `data`; return where the next one begins."""
        token = self._token
        position = 0
        part = 0
        while (at := data.find(token, position)) >= 0:
            position = at + len(token)
            after = _AFTER.match(data, position)
            if after is None and len(data) - position < _MAX_PADDING and _UNFINISHED.fullmatch(data, position):
                return part  # what follows it has not come yet
            self._parts += 1
            if self._parts > _MAX_PARTS:
                self.unread = True
                self.doubt = self.doubt or "it has too many parts"
                return part
            before = (
                2 if data.startswith(b"\r\n", at - 2) and at >= 2 else int(data.startswith(b"\n", at - 1) and at >= 1)
            )
            first = self._offset + at == 0
            if after is None or not (before or first):
                self.doubt = self.doubt or "its boundary occurs inside a part"
                continue
            if (before != 2 and not first) or after[0] not in (b"\r\n", b"--") or not (self._begun or first):
                self.doubt = self.doubt or "its delimiters or line ends are unusual"
            if self._inside:
                self._part(data[part : at - before], whole=True)
            self._begun = True
            self._inside = True
            part = after.end()
            if after[1]:
                self.closed = True
                self._inside = False
                self._end(data[part:])
                return part
            position = part
        return part

    def _end(self, data: bytes) -> None:
        if data not in (b"", b"\r\n", b"\r", b"\n"):
            self.doubt = self.doubt or "something follows its last delimiter"

    def _part(self, part: bytes, *, whole: bool) -> None:
        """Parse one part, or the beginning of a long one."""
        head, separator, value = part.partition(b"\r\n\r\n")
        if not separator or b"\n\n" in head:
            head, _, value = part.partition(b"\n\n")
        name, is_file = _described(head)
        if name in WANTED and not is_file and whole and len(part) <= _MAX_PART:
            self.fields.setdefault(name, value.decode("utf-8", "replace"))
        if not self.doubt:
            self.doubt = (
                self._why_doubtful(head, name, value=value, whole=whole) if separator else "a part has no value"
            )

    def _why_doubtful(self, head: bytes, name: str, *, value: bytes, whole: bool) -> str:
        """Why another server may read this part, or another one, as the model; "" if none would."""
        lines = [_PLAIN_HEADER.fullmatch(line) for line in head.split(b"\r\n")]
        plain = [line for line in lines if line]
        types = [line[0] for line in plain if line["type"]]
        if len(plain) < len(lines) or sum(1 for line in plain if line["name"]) != 1 or len(types) > 1:
            return "the headers of a part are unusual"
        if any(b"multipart/" in each.lower() or b"message/" in each.lower() for each in types):
            return "a part holds other parts"
        if name.lower() != "model":
            return self._why_doubtful_field(name, value, whole=whole, is_file=any(line["file"] for line in plain))
        self._named += 1
        is_plain = name == "model" and whole and not any(line["file"] or line["extended"] for line in plain)
        if not is_plain or self._named > 1 or not all(_PLAIN_TEXT.fullmatch(each) for each in types):
            return "it names the model more than once, or not in a plain field"
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return "the name of the model is not UTF-8"
        return "the name of the model has control characters" if _CONTROL.search(text) else ""

    def _why_doubtful_field(self, name: str, value: bytes, *, whole: bool, is_file: bool) -> str:
        """Why a field not named `model` may still decide it; "" if it does not. Notes the rights it needs."""
        folded = model_places.segments(name)
        if name.lower() == "_charset_" or any(map(model_places.is_model, folded)):
            return f"servers differ in the meaning of the field {name[:40]}"
        if folded[:1] == [model_places.PROMPT] and len(folded) > 1:
            self.needed.add(STORED)
        self.needed.update(filter(None, map(model_places.right_for, folded)))
        if is_file or folded == [model_places.PROMPT] or value.lstrip()[:1] not in (b"{", b"["):
            return ""
        if not whole:
            return f"the field {name[:40]} holds JSON that is too long to be checked"
        try:
            named = named_models.read_field(".".join(folded), value)
        except Unreadable as error:
            return f"the field {name[:40]} cannot be checked: {error}"
        self.needed |= named.needed
        return f"the field {name[:40]} names a model" if named.models else ""


def _described(head: bytes) -> tuple[str, bool]:
    """(Name, whether it is a file) of a part, from a lenient reading of its headers."""
    for line in _LINE_END.split(_FOLD.sub(b" ", head)):
        title, _, rest = line.partition(b":")
        if title.strip().lower() == b"content-disposition":
            return _parameters(rest)
    return "", False


def _parameters(disposition: bytes) -> tuple[str, bool]:
    parameters: dict[bytes, bytes] = {}
    for key, quoted, single, bare in _PARAMETER.findall(disposition):
        parameters.setdefault(key.lower(), _QUOTED_PAIR.sub(rb"\1", quoted) or single or bare)
    name = parameters.get(b"name", b"")
    if not name and (extended := parameters.get(b"name*", b"").rpartition(b"'")[2]):
        name = unquote_to_bytes(extended)
    is_file = bool(parameters.get(b"filename") or parameters.get(b"filename*"))
    return name.decode("utf-8", "replace"), is_file
