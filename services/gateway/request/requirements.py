"""Requirements of endpoints for tokens confined to models: a model or a right."""

import re
from functools import lru_cache

from shared.rights import BATCHES, FILES, OTHER, STORED, TUNING

MODEL = "model"  # the request must name an allowed model
NOTHING = ""  # a lookup that no model works for

# A version, Gemini's and Azure's prefix of the OpenAI-compatible API, an Azure deployment, a Vertex AI project.
_PREFIX = re.compile(
    r"(?:/v\d+(?:alpha|beta)?\d*)?"
    r"(?:/openai(?:/v\d+(?:alpha|beta)?\d*)?(?:/deployments/[^/]+)?|/projects/[^/]+/locations/[^/]+(?:/publishers/[^/]+)?)?"
)
_ID = r"[^/:]+"
_VERBS = "generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents|predict|predictLongRunning"
_NAMES_A_MODEL = (
    r"/(?:chat/|fim/)?completions",
    r"/responses(?:/compact|/input_tokens)?",
    r"/messages(?:/count_tokens)?",
    r"/(?:embeddings|moderations|complete|ocr|classifications|interactions|cachedContents|videos|rerank|score)",
    r"/chat/(?:moderations|classifications)",
    r"/images/(?:generations|edits|variations)",
    r"/(?:image|videos)/(?:generations|edits)",
    r"/audio/(?:speech|transcriptions|translations)",
    rf"/(?:models|tunedModels)/{_ID}:(?:{_VERBS})",
)
_LOOKUPS = (
    rf"/(?:models|language-models|image-generation-models|embedding-models)(?:/{_ID}|/[^/]+)?",
    rf"/(?:responses|interactions)/{_ID}(?:/input_items)?",
    rf"/videos/{_ID}(?:/content)?",
    rf"/chat/deferred-completion/{_ID}",
    rf"(?:/models/{_ID})?/operations/{_ID}",
    r"/api-key",
)
_OWN_RESPONSE = rf"/(?:responses|interactions)/{_ID}(?:/cancel)?"
_RULES: tuple[tuple[frozenset[str], re.Pattern[str], str], ...] = tuple(
    (frozenset(methods.split()), re.compile(f"(?:{'|'.join(paths)})"), requirement)
    for methods, paths, requirement in (
        ("POST", _NAMES_A_MODEL, MODEL),
        ("GET HEAD", _LOOKUPS, NOTHING),
        ("DELETE POST", (_OWN_RESPONSE,), NOTHING),
    )
)
_AREAS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), right)
    for pattern, right in (
        (r"/(?:messages/)?batches(?:/|$)|/batch/jobs(?:/|$)", BATCHES),
        (r".*:(?:batchGenerateContent|asyncBatchEmbedContent)$", BATCHES),
        (r"/(?:files|uploads?|download|containers|corpora|libraries)(?:[/:]|$)", FILES),
        (r"/(?:vector_stores|fileSearchStores|cachedContents)(?:[/:]|$)", FILES),
        (r"/(?:assistants|threads|conversations|prompts|agents|chatkit|chat/completions|skills)(?:/|$)", STORED),
        (r"/(?:fine[_-]tun(?:ing|es)|evals|graders|tunedModels|models)(?:/|$)", TUNING),
    )
)


@lru_cache(maxsize=1024)
def required(method: str, path: str) -> str:
    """Requirement of a canonical upstream path: MODEL, NOTHING, or a right."""
    prefix = _PREFIX.match(path)
    rest = path[prefix.end() :] if prefix else path
    for methods, pattern, requirement in _RULES:
        if method in methods and pattern.fullmatch(rest):
            return requirement
    return next((right for pattern, right in _AREAS if pattern.match(rest)), OTHER)
