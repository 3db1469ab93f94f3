"""Response headers that tell a client about its limits."""

from multidict import MutableMultiMapping

# As OpenAI's and Anthropic's APIs call them, by what is counted: limit, remaining, reset.
_OPENAI = {
    measure: tuple(f"x-ratelimit-{part}-{measure}" for part in ("limit", "remaining", "reset"))
    for measure in ("requests", "tokens")
}
_ANTHROPIC = {
    measure: tuple(f"anthropic-ratelimit-{measure}-{part}" for part in ("limit", "remaining", "reset"))
    for measure in ("requests", "tokens")
}
_PROVIDER_NAMES = frozenset(name for style in (_OPENAI, _ANTHROPIC) for names in style.values() for name in names)


def add(headers: MutableMultiMapping[str], limit_headers: list[tuple[str, str]]) -> None:
    """Add a request's limit headers to those of its response.

    A provider that sends limits of its own keeps the names that providers use.
    """
    has_own = any(name in headers for name in _PROVIDER_NAMES)
    for name, value in limit_headers:
        if not (has_own and name in _PROVIDER_NAMES):
            headers.add(name, value)
