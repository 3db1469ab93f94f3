"""Hypothesis strategies for hostile, odd and merely unusual input, each with the value a lenient reader gets."""

from tests.support.form_samples import FormSample, form_samples
from tests.support.header_samples import HeaderSample, TextSample, header_samples, header_texts
from tests.support.json_samples import JsonSample, json_samples, model_names, plain_values, request_fields
from tests.support.path_samples import PathSample, path_samples
from tests.support.sse_samples import SseEvent, SseSample, chunked, sse_samples

__all__ = [
    "FormSample",
    "HeaderSample",
    "JsonSample",
    "PathSample",
    "SseEvent",
    "SseSample",
    "TextSample",
    "chunked",
    "form_samples",
    "header_samples",
    "header_texts",
    "json_samples",
    "model_names",
    "path_samples",
    "plain_values",
    "request_fields",
    "sse_samples",
]
