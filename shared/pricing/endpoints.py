"""Which calls cost nothing whatever they answer."""

_FREE_POSTS = (
    "/count_tokens",
    ":countTokens",
    "/moderations",
    "/files",
    "/batches",
    "/uploads",
    "/cancel",
    "/input_tokens",
)


def is_free(endpoint: str) -> bool:
    """Whether "METHOD /path" is free: looking things up is (a stored answer too), and so are a few POSTs."""
    method, _, path = endpoint.partition(" ")
    return method != "POST" or path.endswith(_FREE_POSTS)
