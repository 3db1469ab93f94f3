"""Failures of accounting, counted by stage and logged at a bounded rate."""

import logging
from collections import Counter

log = logging.getLogger(__name__)

# Stages in which accounting may fail.
HEADERS, READING, EVIDENCE, EVENT = "headers", "reading", "evidence", "event"
REMOVER, CACHE = "remover", "cache"


class Failures:
    """Counter of failures; logs the 1st, 2nd, 4th, 8th … one of each stage."""

    def __init__(self) -> None:
        self.by_stage: Counter[str] = Counter()

    def note(self, stage: str, error: BaseException, *, request: str = "") -> None:
        """Count an exception, and log its type and place.

        Its text is not logged, because it may quote a response.
        """
        count = self.by_stage[stage] + 1
        self.by_stage[stage] = count
        if count & (count - 1) == 0:
            log.error(
                "accounting of request %s failed (%s, %d so far): %s at %s",
                request or "-",
                stage,
                count,
                type(error).__name__,
                _place(error),
            )


def _place(error: BaseException) -> str:
    """File and line where an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
