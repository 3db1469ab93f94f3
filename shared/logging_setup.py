"""Log records go in, lines come out on standard error: plain text, or one JSON object each."""

import logging
import sys
import time
import traceback
from contextvars import ContextVar
from typing import Annotated

import msgspec

from shared.settings import setting

# The request that is being served, where one is: its id stands in every JSON line that is logged meanwhile.
REQUEST: ContextVar[str] = ContextVar("request", default="")

Level = Annotated[
    str,
    setting("minimum log level: DEBUG, INFO, WARNING or ERROR", pattern="^(DEBUG|INFO|WARNING|ERROR)$"),
]
Format = Annotated[str, setting("log format: text, or json with one object per line", pattern="^(text|json)$")]


class Settings(msgspec.Struct, frozen=True):
    """How a process logs. Each service has these among its own settings."""

    log_level: Level = "INFO"
    log_format: Format = "text"


class Text(logging.Formatter):
    """Level, logger, message; and the request that it is about, where the message does not name it."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line above a traceback."""
        line, request = super().formatMessage(record), REQUEST.get()
        return f"{line} (request {request})" if request and request not in line else line


class Json(logging.Formatter):
    """One object a line: time, level, logger, service, message; request_id and exception where there are any."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.created % 1 * 1000):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "service": self._service,
            "message": _whole(record.getMessage()),
        }
        if request := REQUEST.get():
            line["request_id"] = request
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _whole("".join(traceback.format_exception(*record.exc_info)).rstrip())
        if record.stack_info:
            line["stack"] = _whole(record.stack_info)
        return msgspec.json.encode(line).decode()


def _whole(text: str) -> str:
    """Text as JSON can hold it: bytes that were no UTF-8 came in as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def configure(settings: Settings, *, service: str) -> None:
    """Have all that is logged from now on written so; in JSON also warnings, and the error that ends a process."""
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(Json(service))
        logging.captureWarnings(True)
        sys.excepthook = _uncaught
    else:
        handler.setFormatter(Text())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)


def _uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:
    logging.getLogger("shared.process").critical("ended by an error", exc_info=error)
