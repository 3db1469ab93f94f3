"""What a log collector is given: each line an object it can read, whatever was logged."""

import json
import logging
import sys

import pytest

from shared import logging_setup
from shared.logging_setup import REQUEST, Json, Text


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("services.gateway.handler", logging.ERROR, "proxy.py", 1, message, arguments, trace)
    made.created = 1795746849.25
    return made


def read(line: str) -> dict[str, str]:
    assert "\n" not in line, "a line per record"
    found: dict[str, str] = json.loads(line)
    return found


def test_log_line_has_time_level_logger_and_message() -> None:
    assert read(Json("gateway").format(record("%d requests", 3))) == {
        "time": "2026-11-27T02:34:09.250Z",
        "level": "ERROR",
        "logger": "services.gateway.handler",
        "service": "gateway",
        "message": "3 requests",
    }


def test_a_failure_with_its_trace_is_one_line_and_the_next_request_does_not_inherit_the_id() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        serving = REQUEST.set("019-id")
        found = read(Json("gateway").format(record("failed", error=error)))
        REQUEST.reset(serving)
    assert found["request_id"] == "019-id"
    assert found["exception"].startswith("Traceback") and found["exception"].endswith("ValueError: two\nlines")
    assert "request_id" not in read(Json("gateway").format(record("idle")))


@pytest.mark.parametrize("text", ["\udc80\udcff broken bytes", "\x00\x1b[31m", 'quotes " and \\', "日本"])
def test_whatever_a_client_sent_a_line_stays_readable(text: str) -> None:
    read(Json("gateway").format(record("%s", text)))


def test_text_names_the_request_once() -> None:
    serving = REQUEST.set("019-id")
    assert Text().format(record("tokens could not be counted")).endswith("counted (request 019-id)")
    assert Text().format(record("request 019-id failed")) == "ERROR services.gateway.handler: request 019-id failed"
    REQUEST.reset(serving)
    assert Text().format(record("idle")) == "ERROR services.gateway.handler: idle"


def test_a_process_that_ends_by_an_error_says_so_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    before = (sys.excepthook, logging.getLogger().handlers[:], logging.getLogger().level)
    try:
        logging_setup.configure(logging_setup.Settings(log_format="json"), service="cache")
        error = RuntimeError("end")
        sys.excepthook(RuntimeError, error, None)
    finally:
        sys.excepthook = before[0]
        logging.captureWarnings(False)
        logging.basicConfig(handlers=before[1] or [logging.NullHandler()], level=before[2], force=True)
    found = read(capsys.readouterr().err.strip())
    assert (found["level"], found["service"], found["exception"]) == ("CRITICAL", "cache", "RuntimeError: end")
