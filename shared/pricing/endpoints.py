"""Which calls cost nothing whatever they answer, and which only tell again what another call did."""

import re

_FREE_POSTS = (
    "/count_tokens",
    ":countTokens",
    "/moderations",
    "/files",
    "/batches",
    "/batch/jobs",
    ":batchGenerateContent",  # making a batch; what it used comes with its results
    ":asyncBatchEmbedContent",
    "/uploads",
    "/cancel",
    "/input_tokens",
)
_BATCH_RESULTS = re.compile(r"/batches/[^/]+/results$")
_UPLOAD_STEP = re.compile(r"/uploads/[^/]+/(?:parts|complete)$")
_STORED_CHAT = re.compile(r"/chat/completions/[^/]+$")  # a POST there only changes a stored answer's metadata


def is_free(endpoint: str) -> bool:
    """Whether "METHOD /path" is free: looking things up is, and so are a few POSTs."""
    return is_lookup(endpoint) or endpoint.endswith(_FREE_POSTS) or _UPLOAD_STEP.search(endpoint) is not None


def is_lookup(endpoint: str) -> bool:
    """Whether the answer is one that stood ready, so that its usage was another call's."""
    method, _, path = endpoint.partition(" ")
    return method != "POST" or path.endswith("/cancel") or _STORED_CHAT.search(path) is not None


def is_batch_results(endpoint: str) -> bool:
    """Whether the answer is a finished batch's, whatever could be read of it."""
    return endpoint.startswith("GET ") and _BATCH_RESULTS.search(endpoint) is not None
