"""Wire formats: one module and one record each, listed here."""

from services.gateway.dialects import (
    anthropic,
    gemini,
    gemini_live,
    openai_chat,
    openai_other,
    openai_realtime,
    openai_responses,
)
from services.gateway.dialects.dialect import Dialect

__all__ = ["DIALECTS", "Dialect", "of_path"]

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        anthropic.DIALECT,
        openai_chat.DIALECT,
        openai_responses.DIALECT,
        openai_realtime.DIALECT,
        openai_other.DIALECT,
        gemini.DIALECT,
        gemini_live.DIALECT,
    )
}


def of_path(api: str, path: str) -> Dialect:
    """The dialect that an API speaks on this path.

    The one that claims the path, else the API's general one.
    """
    candidates = [dialect for dialect in DIALECTS.values() if dialect.api == api]
    for dialect in candidates:
        if dialect.path is not None and dialect.path.search(path):
            return dialect
    return next(dialect for dialect in candidates if dialect.path is None)
