"""Failures of accounting: counted by stage and logged at a bounded rate, so that none of them reaches a client."""

import logging
from collections import Counter

log = logging.getLogger(__name__)

# Stages in which accounting may fail.
HEADERS, READING, EVIDENCE, EVENT = "headers", "reading", "evidence", "event"
REMOVER, CACHE = "remover", "cache"


class Failures:
    """Takes note of what accounting raises. The log gets the 1st, 2nd, 4th, 8th … failure of each stage."""

    def __init__(self) -> None:
        self.by_stage: Counter[str] = Counter()

    def note(self, stage: str, error: BaseException, *, request: str = "") -> None:
        """Count an exception; its text may quote an answer, so the log names only its type and place."""
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
