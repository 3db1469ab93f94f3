"""A form's model must be found however it is cut, and be certain only where every server reads the same one."""

import email.parser
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.request.multipart import Form
from tests.support.strategies import FormSample, chunked, form_samples

KIND = 'multipart/form-data; boundary="B-1"'
FILE = b'Content-Disposition: form-data; name="file"; filename="model"\r\n\r\n'
SOUND = bytes(range(256)) * 40 + b'\r\n--B-\r\nContent-Disposition: form-data; name="model"\r\n\r\ndecoy\r\n'
MODEL = b"content-disposition: form-data; name=model\r\nContent-Type: text/plain\r\n\r\nwhisper-1"
STREAM = b'Content-Disposition: form-data; name="stream"\r\n\r\ntrue'


def form(*parts: bytes) -> bytes:
    return b"".join(b"--B-1\r\n" + part + b"\r\n" for part in parts) + b"--B-1--\r\n"


@pytest.mark.parametrize("size", [1, 7, 1400, 1 << 20])
@pytest.mark.parametrize(
    "body",
    [
        form(MODEL, STREAM, FILE + SOUND),
        form(FILE + SOUND, MODEL, STREAM),
        form(STREAM, FILE + SOUND, MODEL),
        b"a preamble\r\n" + form(FILE + b"", MODEL, STREAM),
    ],
    ids=["before", "behind", "around", "empty file"],
)
def test_a_forms_fields_are_found_however_it_is_cut(body: bytes, size: int) -> None:
    found = Form(KIND)
    for i in range(0, len(body), size):
        found.feed(body[i : i + size])
    assert found.fields == {"model": "whisper-1", "stream": "true"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (KIND, form(FILE + SOUND)),
        (KIND, form(b'Content-Disposition: form-data; name="model"\r\n\r\n' + b"m" * 5000)),
        (KIND, form(b'Content-Disposition: form-data; name="model"; filename="x"\r\n\r\ntext')),
        ("multipart/form-data", form(MODEL)),
        ("", form(MODEL)),
    ],
    ids=["in a file", "too long", "a file named so", "no boundary", "no form"],
)
def test_form_parts_that_are_not_fields_are_ignored(kind: str, body: bytes) -> None:
    found = Form(kind)
    found.feed(body)
    assert "model" not in found.fields


def test_a_form_of_any_size_is_held_in_a_few_kilobytes() -> None:
    found = Form(KIND)
    found.feed(b"--B-1\r\n" + FILE)
    for _ in range(200):
        found.feed(b"\x00" * 65536)
        assert len(found._rest) < 4096


def read(kind: str, *pieces: bytes) -> Form:
    found = Form(kind)
    for piece in pieces:
        found.feed(piece)
    return found


@given(st.data(), form_samples())
def test_any_form_that_a_server_reads_is_read(data: st.DataObject, sample: FormSample) -> None:
    found = read(sample.content_type, *data.draw(chunked(sample.body)))
    whole = read(sample.content_type, sample.body)
    assert (found.fields, bool(found.doubt), found.closed) == (whole.fields, bool(whole.doubt), whole.closed)
    if "unclosed" not in sample.traits and "file_named" not in sample.traits:
        assert found.model in {one.encode("utf-8", "replace").decode() for one in sample.fields["model"]}


@given(st.data(), form_samples())
def test_a_model_that_is_certain_is_the_one_that_every_server_reads(data: st.DataObject, sample: FormSample) -> None:
    found = read(sample.content_type, *data.draw(chunked(sample.body)))
    if found.closed and not found.doubt:
        assert set(sample.fields["model"]) == {found.model}


@given(form_samples(without={"unclosed"}))
def test_a_certain_model_is_what_a_mail_parser_reads(sample: FormSample) -> None:
    found = read(sample.content_type, sample.body)
    if found.doubt:
        return
    head = f"Content-Type: {sample.content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + sample.body)
    named = [
        part.get_payload(decode=True)
        for part in message.iter_parts()
        if part.get_param("name", header="content-disposition") == "model"
    ]
    assert named == [found.model.encode()]


CLIENTS = {
    "httpx": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm-1\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b--\r\n',
    "undici": b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm-1\r\n--b--\r\n\r\n'[:-2],
    "aiohttp": b'--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"\r\n\r\nm-1\r\n--b--\r\n',
    "okhttp": b'--b\r\nContent-Disposition: form-data; name="model"\r\nContent-Length: 3\r\n\r\nm-1\r\n--b--\r\n',
    "dotnet": b'--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model\r\n\r\nm-1\r\n--b--\r\n',
    "curl": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm-1\r\n--b\r\nContent-Disposition: form-data; name="timestamp_granularities[]"\r\n\r\nword\r\n--b--\r\n',
}  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS)
def test_the_forms_of_real_clients_leave_no_doubt(client: str) -> None:
    found = read("multipart/form-data; boundary=b", CLIENTS[client])
    assert (found.doubt, found.closed, found.model) == ("", True, "m-1")


def field(head: str, value: str = "m-1") -> bytes:
    return f"--b\r\n{head}\r\n\r\n{value}\r\n".encode()


GOOD = field('Content-Disposition: form-data; name="model"')
DOUBTFUL = {
    "twice": GOOD + field('Content-Disposition: form-data; name="model"', "m-2"),
    "an empty file name": field('Content-Disposition: form-data; name="model"; filename=""'),
    "a file too": GOOD + field('Content-Disposition: form-data; name="model"; filename="x"', "m-2"),
    "name*": GOOD + field("Content-Disposition: form-data; name*=UTF-8''model", "m-2"),
    "both names": GOOD + field("Content-Disposition: form-data; name=\"x\"; name*=UTF-8''model", "m-2"),
    "two names": GOOD + field('Content-Disposition: form-data; name="x"; name="model"', "m-2"),
    "capitals": GOOD + field('Content-Disposition: form-data; name="Model"', "m-2"),
    "an escape": GOOD + field('Content-Disposition: form-data; name="mo\\del"', "m-2"),
    "percent": GOOD + field('Content-Disposition: form-data; name="mod%65l"', "m-2"),
    "brackets": GOOD + field('Content-Disposition: form-data; name="model[]"', "m-2"),
    "a file name that ends early": GOOD + field('Content-Disposition: form-data; name="file"; filename="a\\"; name=model', "m-2"),
    "two dispositions": GOOD + field('Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; name="model"', "m-2"),
    "a folded line": GOOD + field('Content-Disposition: form-data;\r\n name="model"', "m-2"),
    "single quotes": GOOD + field("Content-Disposition: form-data; name='model'", "m-2"),
    "a transfer encoding": field('Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64'),
    "a charset": field('Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-7'),
    "another type": field('Content-Disposition: form-data; name="model"\r\nContent-Type: application/json'),
    "_charset_": GOOD + field('Content-Disposition: form-data; name="_charset_"', "utf-16"),
    "parts in a part": GOOD + field('Content-Disposition: form-data; name="x"\r\nContent-Type: multipart/mixed; boundary=c'),
    "a long head": GOOD + field("X: " + "x" * 3000 + '\r\nContent-Disposition: form-data; name="model"', "m-2"),
    "LF line ends": GOOD + field('Content-Disposition: form-data; name="model"', "m-2").replace(b"\r\n", b"\n"),
    "LF before a delimiter": GOOD[:-2] + b"\n" + field('Content-Disposition: form-data; name="model"', "m-2"),
    "no line end before a delimiter": GOOD + field('Content-Disposition: form-data; name="x"')[:-2] + GOOD,
    "spaces after a delimiter": GOOD + GOOD.replace(b"--b", b"--b  "),
    "a longer boundary": GOOD + GOOD.replace(b"--b", b"--bb"),
    "a preamble": b"x\r\n" + GOOD,
    "a long preamble": b"x" * 9000 + b"\r\n" + GOOD,
    "control characters": field('Content-Disposition: form-data; name="model"', "m-1\0"),
}  # fmt: skip


@pytest.mark.parametrize("what", DOUBTFUL)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_form_that_servers_read_differently_is_doubtful(what: str, size: int) -> None:
    body = DOUBTFUL[what] + b"--b--\r\n"
    assert read("multipart/form-data; boundary=b", *(body[i : i + size] for i in range(0, len(body), size))).doubt


def test_a_form_after_the_forms_end_is_doubtful() -> None:
    assert read("multipart/form-data; boundary=b", GOOD + b"--b--\r\n", GOOD + b"--b--\r\n").doubt


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=b; boundary=c",
        "multipart/form-data; boundary=b; charset=utf-16",
        "multipart/form-data; boundary*=utf-8''b",
        "multipart/mixed; boundary=b",
        'multipart/form-data; boundary="b',
        "multipart/form-data; x=y; boundary=b",
    ],
)
def test_an_unusual_content_type_leaves_doubt(kind: str) -> None:
    assert Form(kind).doubt


BOMBS = {
    "delimiters": b"\r\n--b" * 700_000,
    "empty parts": b"--b\r\n\r\n\r\n" * 300_000,
    "dispositions": (b"--b\r\n" + b"content-disposition:" * 100 + b"\r\n\r\n\r\n") * 2000,
    "dispositions in one part": b"--b\r\n" + b"content-disposition:" * 200_000,
    "semicolons": (b"--b\r\ncontent-disposition: form-data" + b"; name" * 300 + b"\r\n\r\n\r\n") * 2000,
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_hostile_form_costs_no_more_than_its_first_parts(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    examined = 0
    original = Form._part

    def counted(self: Form, part: bytes, *, whole: bool) -> None:
        nonlocal examined
        examined += len(part)
        original(self, part, whole=whole)

    monkeypatch.setattr(Form, "_part", counted)
    body = BOMBS[what]
    found = read("multipart/form-data; boundary=b", *(body[i : i + 65536] for i in range(0, len(body), 65536)))
    assert examined <= 257 * 2048
    assert found.doubt
