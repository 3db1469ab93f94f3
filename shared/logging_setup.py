"""Logging setup: plain text or JSON lines on standard error."""

import logging
import sys
import time
import traceback
from contextvars import ContextVar
from typing import Annotated

import msgspec

from shared.settings import setting

# Id of the request being served; every log line written meanwhile includes it.
REQUEST: ContextVar[str] = ContextVar("request", default="")

Level = Annotated[
    str,
    setting("minimum log level: DEBUG, INFO, WARNING or ERROR", pattern="^(DEBUG|INFO|WARNING|ERROR)$"),
]
Format = Annotated[str, setting("log format: text, or json with one object per line", pattern="^(text|json)$")]


class Settings(msgspec.Struct, frozen=True):
    """Logging settings, which each service has among its own."""

    log_level: Level = "INFO"
    log_format: Format = "text"


class Text(logging.Formatter):
    """Text lines: level, logger, message, and the request unless the message names it."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line without a traceback."""
        line = super().formatMessage(record)
        request = REQUEST.get()
        return f"{line} (request {request})" if request and request not in line else line


class Json(logging.Formatter):
    """JSON lines with time, level, logger, service, message, request_id, exception."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line, without the newline."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.created % 1 * 1000):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "service": self._service,
            "message": _whole(record.getMessage()),
        }
        request = REQUEST.get()
        if request:
            line["request_id"] = request
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _whole("".join(traceback.format_exception(*record.exc_info)).rstrip())
        if record.stack_info:
            line["stack"] = _whole(record.stack_info)
        return msgspec.json.encode(line).decode()


def _whole(text: str) -> str:
    """Text that JSON can represent: lone surrogates, from invalid UTF-8, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def configure(settings: Settings, *, service: str) -> None:
    """Configure logging; with JSON also for warnings and uncaught exceptions."""
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(Json(service))
        logging.captureWarnings(True)
        sys.excepthook = _uncaught
    else:
        handler.setFormatter(Text())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)


def _uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:
    logging.getLogger("shared.process").critical("uncaught exception", exc_info=error)
