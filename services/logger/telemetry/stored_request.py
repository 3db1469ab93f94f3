"""A stored request as it is exported: its row, and what only its event contains."""

import re

import msgspec

from services.logger.rows import ResponseRow
from shared import events

# Of one upstream path, the operation; the first match counts. Values of gen_ai.operation.name.
_OPERATIONS = (
    (re.compile(r"/embeddings$|:(?:embedContent|batchEmbedContents)$"), "embeddings"),
    (re.compile(r"/(?:chat/completions|messages|responses|realtime)$"), "chat"),
    (re.compile(r"/(?:completions|complete|fim/completions)$"), "text_completion"),
    (re.compile(r":(?:streamGenerateContent|generateContent)$|/interactions$|/images/|/audio/"), "generate_content"),
)
_DONE = frozenset({events.COMPLETE, events.CLIENT_CLOSED})


class StoredRequest(msgspec.Struct, frozen=True):
    """A request whose row ClickHouse has acknowledged."""

    row: ResponseRow
    traceparent: str = ""  # of the caller, as in ResponseEvent
    server: str = ""

    @property
    def operation(self) -> str:
        """gen_ai.operation.name.

        For endpoints without a well-known one, the path's last part.
        """
        path = self.row.endpoint.partition(" ")[2]
        for pattern, name in _OPERATIONS:
            if pattern.search(path):
                return name
        return re.split(r"[/:]", path)[-1] or "request"

    @property
    def error_type(self) -> str:
        """error.type: what went wrong; "" if nothing did. As `is_error` in the schema."""
        row = self.row
        if row.outcome not in _DONE:
            return row.error_type or row.outcome
        if row.outcome == events.CLIENT_CLOSED:
            return ""
        return row.error_type or (str(row.status) if row.status >= 400 else "")

    @property
    def is_answered(self) -> bool:
        """Whether a model has responded, so that the model's name is one that exists."""
        return self.row.status < 400 and not self.error_type

    @property
    def is_inference(self) -> bool:
        """Whether it called a model.

        Lookups of models, files, batches and responses have no span.
        """
        row = self.row
        return row.endpoint.startswith(("POST ", "WS ")) or bool(row.cost or row.input_tokens or row.output_tokens)
