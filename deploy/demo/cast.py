"""Who asks: twenty requesters with their accounts, habits and favourite models, and the models' own traits."""

import msgspec

MAIN, SHOP, LAB = "default", "shop", "research"  # accounts
TOKENS = {SHOP: "web", LAB: "lab"}  # account → its token's name; `default` has the one made at the first start

OFFICE, ALWAYS, NIGHT = "office", "always", "night"  # when somebody asks

Offer = tuple[str, str, int]  # kind, model, weight


class Requester(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are shares of 1; `prompt` and `answer` are median tokens. The cast is in the order of its traffic."""

    name: str
    account: str = MAIN
    project: str
    feature: str
    environment: str = "production"
    offers: tuple[Offer, ...]
    prompt: int = 900
    answer: int = 250
    streams: float = 0.5
    cached: float = 0.0  # prompts whose beginning the provider has in its own cache
    asks_again: float = 0.0  # questions that were asked before, with x-metrion-cache: true
    leaves: float = 0.0  # streams that the client leaves
    invalid: float = 0.0  # requests that no provider can answer
    functions: float = 0.0  # answers that call a function of the client's
    searches: float = 0.0  # answers that searched the web
    images: float = 0.0  # prompts with an image
    hours: str = OFFICE
    own_key: bool = False  # brings the provider's key along (pass-through mode)


REASONING = frozenset(
    {"claude-opus-5-5", "gpt-6-sol", "gpt-6.1-sol", "gpt-6.1-terra", "gemini-3.8-flash", "gemini-4-argon", "grok-4.7"}
)
WRITES_CACHE = frozenset({"gpt-6-sol", "gpt-6.1-sol", "gpt-6.1-terra"})  # OpenAI charges these for writing to its cache
SUCCESSOR = {"gpt-6-sol": "gpt-6.1-sol"}  # in the history the left one gives way to the right one

CAST: tuple[Requester, ...] = (
    Requester(
        name="support-bot",
        account=SHOP,
        project="support",
        feature="chat",
        offers=(("messages", "claude-haiku-4-5", 6), ("chat", "gpt-4.1-mini", 3), ("count", "claude-haiku-4-5", 1)),
        streams=0.9,
        cached=0.7,
        asks_again=0.25,
        leaves=0.04,
        hours=ALWAYS,
    ),
    Requester(
        name="search-indexer",
        project="search",
        feature="indexing",
        offers=(("embeddings", "text-embedding-3-small", 8), ("mistral-embeddings", "mistral-embed", 2)),
        prompt=2500,
        hours=ALWAYS,
    ),
    Requester(
        name="code-review",
        project="engineering",
        feature="review",
        offers=(("messages", "claude-sonnet-5-5", 6), ("responses", "gpt-6.1-terra", 4)),
        prompt=9000,
        answer=900,
        cached=0.8,
        functions=0.3,
    ),
    Requester(
        name="shop-assistant",
        account=SHOP,
        project="storefront",
        feature="recommendations",
        offers=(("gemini", "gemini-3.8-flash", 7), ("gemini-chat", "gemini-3.8-flash", 3)),
        streams=0.8,
        cached=0.3,
        asks_again=0.15,
        leaves=0.06,
        searches=0.1,
        hours=ALWAYS,
    ),
    Requester(
        name="alice",
        project="engineering",
        feature="ide",
        offers=(("messages", "claude-opus-5-5", 5), ("chat", "gpt-6-sol", 5)),
        prompt=6000,
        answer=700,
        streams=0.95,
        cached=0.6,
        leaves=0.08,
        functions=0.4,
    ),
    Requester(
        name="translator",
        project="content",
        feature="translation",
        offers=(("mistral", "mistral-small-latest", 7), ("mistral", "mistral-medium-3-5", 3)),
        prompt=1400,
        answer=1300,
        streams=0.2,
        asks_again=0.1,
    ),
    Requester(
        name="ticket-triage",
        account=SHOP,
        project="support",
        feature="triage",
        offers=(("chat", "gpt-4.1-mini", 10),),
        answer=40,
        streams=0.0,
        cached=0.5,
        functions=0.8,
        hours=ALWAYS,
    ),
    Requester(
        name="bob",
        project="engineering",
        feature="ide",
        offers=(("chat", "gpt-6-sol", 7), ("grok", "grok-4.7", 3)),
        prompt=3500,
        answer=600,
        streams=0.95,
        leaves=0.1,
        functions=0.2,
    ),
    Requester(
        name="news-digest",
        project="content",
        feature="digest",
        offers=(("grok-responses", "grok-4.7", 6), ("responses", "gpt-6.1-terra", 4)),
        prompt=2200,
        answer=800,
        streams=0.3,
        searches=0.8,
        hours=ALWAYS,
    ),
    Requester(
        name="autocomplete",
        project="engineering",
        feature="ide",
        offers=(("mistral", "codestral-2508", 10),),
        prompt=1800,
        answer=40,
        streams=0.7,
        leaves=0.15,
    ),
    Requester(
        name="carol",
        account=LAB,
        project="research",
        feature="analysis",
        environment="staging",
        offers=(("messages", "claude-opus-5-5", 6), ("gemini", "gemini-4-argon", 4)),
        prompt=12000,
        answer=1200,
        cached=0.5,
        searches=0.2,
    ),
    Requester(
        name="invoice-reader",
        project="finance",
        feature="extraction",
        offers=(("gemini", "gemini-3.8-flash", 10),),
        prompt=1600,
        answer=300,
        streams=0.0,
        images=0.8,
        functions=0.5,
    ),
    Requester(
        name="agent-runner",
        account=LAB,
        project="research",
        feature="agents",
        environment="staging",
        offers=(("messages", "claude-sonnet-5-5", 7), ("grok", "grok-4.7", 3)),
        prompt=15000,
        answer=500,
        cached=0.9,
        functions=0.8,
        hours=ALWAYS,
    ),
    Requester(
        name="nightly-report",
        project="finance",
        feature="reporting",
        offers=(("responses", "gpt-6.1-terra", 8), ("chat", "gpt-4.1-mini", 2)),
        prompt=20000,
        answer=1500,
        streams=0.0,
        hours=NIGHT,
    ),
    Requester(
        name="moderation-bot",
        account=SHOP,
        project="community",
        feature="moderation",
        offers=(("grok", "grok-4-1-fast-non-reasoning", 10),),
        prompt=300,
        answer=15,
        streams=0.0,
        hours=ALWAYS,
    ),
    Requester(
        name="dora",
        project="design",
        feature="copy",
        offers=(("gemini-chat", "gemini-4-argon", 6), ("images", "gpt-image-2", 4)),
        streams=0.8,
        answer=400,
    ),
    Requester(
        name="image-studio",
        account=SHOP,
        project="storefront",
        feature="pictures",
        offers=(("images", "gpt-image-2", 10),),
        prompt=80,
        answer=1100,
    ),
    Requester(
        name="frank",
        account=LAB,
        project="research",
        feature="notebook",
        environment="development",
        offers=(("chat", "gpt-6-sol", 5), ("messages", "claude-sonnet-5-5", 5)),
        prompt=2000,
        streams=0.9,
        leaves=0.12,
        own_key=True,
    ),
    Requester(
        name="eval-suite",
        account=LAB,
        project="research",
        feature="evaluation",
        environment="ci",
        offers=(
            ("messages", "claude-haiku-4-5", 4),
            ("gemini", "gemini-3.8-flash", 3),
            ("mistral", "mistral-small-latest", 3),
        ),
        asks_again=0.5,
        hours=NIGHT,
    ),
    Requester(
        name="intern",
        project="onboarding",
        feature="playground",
        environment="development",
        offers=(("chat", "gpt-4.1-mini", 5), ("messages", "claude-haiku-4-5", 3), ("grok", "grok-4.7", 2)),
        streams=0.6,
        leaves=0.1,
        invalid=0.25,
    ),
)

BY_NAME = {one.name: one for one in CAST}
SHARES = tuple(1 / (place + 1.0) ** 0.7 for place in range(len(CAST)))  # Zipf, flattened so that the last are seen too
