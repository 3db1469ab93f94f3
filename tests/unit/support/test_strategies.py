"""The samples' own values are right: checked against independent readers."""

import email.parser
import email.policy
import json
from typing import cast
from urllib.parse import unquote

from hypothesis import given

from tests.support import json_samples as json_module
from tests.support import sse_samples as sse_module
from tests.support.strategies import (
    FormSample,
    HeaderSample,
    JsonSample,
    PathSample,
    SseEvent,
    SseSample,
    TextSample,
    form_samples,
    header_samples,
    header_texts,
    json_samples,
    path_samples,
    sse_samples,
)


@given(json_samples(without={"deep", "long_number", "compressed", "invalid_utf8"}))
def test_pythons_lenient_reader_finds_the_fields_of_a_json_sample(sample: JsonSample) -> None:
    found = json.loads(sample.body.decode(json.detect_encoding(sample.body)), strict=False)
    assert {name: found[name] for name in sample.fields} == sample.fields


@given(json_samples(at_least={"compressed"}, without={"invalid_utf8"}))
def test_a_compressed_sample_names_its_encoding(sample: JsonSample) -> None:
    assert sample.content_encoding
    assert any(sample.content_encoding == name for name, _ in json_module.COMPRESSIONS.values())


@given(json_samples(at_least={"duplicate_keys"}, without={"deep", "long_number"}))
def test_a_duplicate_key_keeps_both_values_and_the_last_one_counts(sample: JsonSample) -> None:
    pairs: list[tuple[str, object]] = []
    json.loads(sample.text, strict=False, object_pairs_hook=lambda found: pairs.extend(found))
    for name, values in sample.values.items():
        assert [value for other, value in pairs if other == name] == list(values)
        assert values[-1] == sample.fields[name]


@given(sse_samples())
def test_an_event_stream_sample_agrees_with_the_standards_algorithm(sample: SseSample) -> None:
    assert sse_module.parse(sample.body) == list(sample.events)
    assert b"".join(sample.chunks) == sample.body
    assert all(sample.chunks)


def test_the_standards_own_examples_are_read_as_it_says() -> None:
    stream = b"data: YHOO\ndata: +2\ndata: 10\n\n: test stream\n\ndata\n\ndata\ndata\n\ndata:test\n\ndata:"
    expected = [SseEvent("YHOO\n+2\n10"), SseEvent(""), SseEvent("\n"), SseEvent("test")]
    assert sse_module.parse(stream) == expected


@given(path_samples("/v1/chat/completions"))
def test_a_path_that_counts_as_the_same_decodes_to_the_plain_one(sample: PathSample) -> None:
    if sample.same:
        assert unquote(sample.raw) == sample.plain
    else:
        assert sample.raw != sample.plain


@given(form_samples(without={"extended_name", "lf", "unclosed", "values_like_delimiters", "boundary", "odd_header"}))
def test_a_mail_parser_finds_the_fields_of_a_form_sample(sample: FormSample) -> None:
    head = f"Content-Type: {sample.content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + sample.body)
    found = [
        cast(bytes, part.get_payload(decode=True)).decode()
        for part in message.iter_parts()
        if part.get_param("name", header="content-disposition") == "model"
    ]
    assert found == list(sample.fields["model"])


@given(header_samples())
def test_a_header_sample_lists_what_it_repeats(sample: HeaderSample) -> None:
    names = [name.decode().lower() for name, _ in sample.items]
    assert {name for name in names if names.count(name) > 1} == sample.repeated
    assert set(names) <= sample.passed | sample.dropped
    assert b"\r\n\r\n" not in sample.wire


@given(header_texts())
def test_header_text_decodes_by_its_convention(sample: TextSample) -> None:
    if sample.form == "latin-1":
        assert sample.wire.decode("latin-1") == sample.text
    elif sample.form == "percent":
        assert unquote(sample.wire.decode()) == sample.text
    elif sample.form == "rfc8187":
        assert unquote(sample.wire.decode().removeprefix("UTF-8''")) == sample.text
    else:
        assert sample.wire.decode() == sample.text
