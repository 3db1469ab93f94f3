"""Endpoints that are free, and endpoints that repeat another call's usage."""

import re
from functools import lru_cache

WEBSOCKET = "WS"  # the method of a response that came over a WebSocket
_ID = r"[^/?#;:\s]+"
_BASE = r"(?:/openai|/api|/upload)*(?:/v\d+(?:alpha|beta)?\d*)?(?:/openai)?"
_MODEL = rf"(?:/models|/tunedModels)/{_ID}"
_DEPLOYMENT = rf"(?:/deployments/{_ID})?"


def _paths(*paths: str) -> re.Pattern[str]:
    return re.compile(f"{_BASE}(?:{'|'.join(paths)})")


# Whole paths: a path that merely ends like one of these is a different endpoint.
_FREE_POSTS = _paths(
    "/messages/count_tokens",
    f"{_MODEL}:countTokens",
    "(?:/chat)?/moderations",
    "/files",
    "/uploads",
    f"/uploads/{_ID}/(?:parts|complete|cancel)",
    "/responses/input_tokens",
)
# They begin a batch, whose usage comes with its results.
_BATCH_POSTS = _paths(
    "/batches",
    "/messages/batches",
    "/batch/jobs",
    f"{_MODEL}:(?:batchGenerateContent|asyncBatchEmbedContent)",
)
# They return an object that another call created, its usage included.
_REPEATING_POSTS = _paths(
    f"(?:/responses|/batches|/messages/batches|/batch/jobs)/{_ID}/cancel",
    f"/fine_tuning/jobs/{_ID}/(?:cancel|pause|resume)",
    f"/vector_stores/{_ID}/file_batches/{_ID}/cancel",
    f"/threads/{_ID}/runs/{_ID}/cancel",
    f"/batches/{_ID}:cancel",
    f"/chat/completions/{_ID}",  # changes the metadata of a stored completion
)
_GENERATION = _paths(
    "/messages",
    "/complete",
    "/responses",
    f"{_DEPLOYMENT}(?:/chat|/fim|/agents)?/completions",
    f"{_DEPLOYMENT}/(?:embeddings|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations))",
    "/(?:ocr|conversations|interactions)",
    f"{_MODEL}:(?:generateContent|streamGenerateContent|embedContent|batchEmbedContents|predict)",
)
_FREE_PATCHES = _paths(f"/cachedContents/{_ID}")
_BATCH_RESULTS = _paths(f"(?:/messages)?/batches/{_ID}/results")
_DEFERRED = _paths(f"/chat/deferred-completion/{_ID}")


@lru_cache(maxsize=4096)  # bounded: endpoints come from outside
def is_free(endpoint: str) -> bool:
    """Whether "METHOD /path" is free unless its response states usage of its own."""
    method, _, path = endpoint.partition(" ")
    if method == "POST":
        return any(paths.fullmatch(path) for paths in (_FREE_POSTS, _BATCH_POSTS, _REPEATING_POSTS))
    if method == "PATCH":
        return _FREE_PATCHES.fullmatch(path) is not None
    return method in ("GET", "HEAD", "OPTIONS", "DELETE") and not is_deferred(endpoint)


@lru_cache(maxsize=4096)
def is_certainly_free(endpoint: str) -> bool:
    """Whether a call costs nothing and begins nothing that will, as a batch does.

    A method without a cost on a generating path may be treated as a POST: see `is_lookup`.
    """
    method, _, path = endpoint.partition(" ")
    if method == "POST":
        return (_FREE_POSTS.fullmatch(path) or _REPEATING_POSTS.fullmatch(path)) is not None
    return method != WEBSOCKET and _GENERATION.fullmatch(path) is None


@lru_cache(maxsize=4096)
def is_lookup(endpoint: str) -> bool:
    """Whether the response existed before, so its usage belongs to another call.

    A GET on a generating path is no lookup: the server, or a method override header, may treat it as a POST.
    """
    method, _, path = endpoint.partition(" ")
    if method == "POST":
        return _REPEATING_POSTS.fullmatch(path) is not None
    return method in ("GET", "HEAD") and not is_deferred(endpoint) and _GENERATION.fullmatch(path) is None


@lru_cache(maxsize=4096)
def is_deferred(endpoint: str) -> bool:
    """Whether the call fetches a deferred response, which can be fetched exactly once."""
    method, _, path = endpoint.partition(" ")
    return method == "GET" and _DEFERRED.fullmatch(path) is not None


@lru_cache(maxsize=4096)
def is_batch_results(endpoint: str) -> bool:
    """Whether the call downloads the results of a batch."""
    method, _, path = endpoint.partition(" ")
    return method == "GET" and _BATCH_RESULTS.fullmatch(path) is not None
