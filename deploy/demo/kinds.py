"""The calls that the demo knows: which endpoint of which provider, how it is asked and in what style it answers."""

import msgspec

from shared import contract

# Styles of an answer: one branch of deploy.demo.wire each.
MESSAGES, CHAT, RESPONSES, GEMINI, EMBEDDINGS, IMAGES, COUNT = (
    "messages",
    "chat",
    "responses",
    "gemini",
    "embeddings",
    "images",
    "count",
)


class Kind(msgspec.Struct, frozen=True):
    """One endpoint. `path` is the provider's own, with {model} where the path names it."""

    provider: str
    dialect: str
    style: str
    path: str
    streams: bool = True

    def target(self, model: str, *, stream: bool) -> str:
        """The path to ask."""
        path = self.path.replace("{model}", model)
        return path.replace(":generate", ":streamGenerate") if stream and self.style == GEMINI else path

    def endpoint(self, *, stream: bool) -> str:
        """The endpoint as a gateway books it."""
        return "POST " + self.target("{model}", stream=stream).partition("?")[0]


KINDS: dict[str, Kind] = {
    "messages": Kind("anthropic", contract.ANTHROPIC, MESSAGES, "/v1/messages"),
    "count": Kind("anthropic", contract.ANTHROPIC, COUNT, "/v1/messages/count_tokens", streams=False),
    "chat": Kind("openai", contract.OPENAI_CHAT, CHAT, "/v1/chat/completions"),
    "responses": Kind("openai", contract.OPENAI_RESPONSES, RESPONSES, "/v1/responses"),
    "embeddings": Kind("openai", contract.OPENAI_OTHER, EMBEDDINGS, "/v1/embeddings", streams=False),
    "images": Kind("openai", contract.OPENAI_OTHER, IMAGES, "/v1/images/generations", streams=False),
    "gemini": Kind("gemini", contract.GEMINI, GEMINI, "/v1beta/models/{model}:generateContent"),
    "gemini-chat": Kind("gemini", contract.OPENAI_CHAT, CHAT, "/v1beta/openai/chat/completions"),
    "mistral": Kind("mistral", contract.OPENAI_CHAT, CHAT, "/v1/chat/completions"),
    "mistral-embeddings": Kind("mistral", contract.OPENAI_OTHER, EMBEDDINGS, "/v1/embeddings", streams=False),
    "grok": Kind("grok", contract.OPENAI_CHAT, CHAT, "/v1/chat/completions"),
    "grok-responses": Kind("grok", contract.OPENAI_RESPONSES, RESPONSES, "/v1/responses"),
}


def find(provider: str, path: str) -> tuple[Kind, str, bool] | None:
    """(kind, model and stream as far as the path names them) of a request that reached the provider; None: no such."""
    for kind in KINDS.values():
        if kind.provider != provider:
            continue
        before, named, after = kind.path.partition("{model}")
        if not named:
            if path == kind.path:
                return kind, "", False
        elif path.startswith(before):
            model, _, verb = path.removeprefix(before).partition(":")
            if ":" + verb == after:
                return kind, model, False
            if verb == "streamGenerateContent":
                return kind, model, True
    return None
