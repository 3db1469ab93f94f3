"""Table of the places in a request that may name a model or refer to one.

A token confined to models passes only if each of them is read and allowed. Names are compared as `fold` spells them:
`model_id`, `modelId` and `MODEL-ID` are one entry. Objects and lists that no table lists are searched at any depth.
"""

import re
import unicodedata

from shared.rights import BATCHES, FILES, OTHER, STORED

# Members that hold the name of one model.
ONE_MODEL = frozenset({"model", "modelid", "modelname", "deployment", "deploymentid", "deploymentname"})
# The same at the top level; further down the word has other meanings, such as a search engine.
ONE_MODEL_AT_TOP = frozenset({"engine"})
# Members that hold a list of models: names, or objects with a `model`.
MODELS = frozenset({"models", "fallbacks", "fallbackmodels"})
# Each string below any other member whose name contains one of these words counts as a model.
LIKE_A_MODEL = ("model", "fallback", "deployment")

# Members that refer to a stored object, or leave the choice to a router, and the right that allows them.
RIGHT_NEEDED: dict[str, str] = {
    "agent": STORED,
    "agentid": STORED,
    "assistant": STORED,
    "assistantid": STORED,
    "promptid": STORED,
    "preset": STORED,
    "thread": STORED,
    "threadid": STORED,
    "conversation": STORED,
    "conversationid": STORED,
    "cachedcontent": FILES,
    "inputfileid": BATCHES,
    "batchid": BATCHES,
    "automode": OTHER,  # Vertex AI chooses the model
}
# Members that load an adapter, which makes another model of the one that is named: vLLM, SGLang, LoRAX, TGI, llama.cpp,
# TensorRT-LLM and LMDeploy have `lora`, `lora_path`, `lora_request`, `adapter_id`, `merged_adapters` and more.
_ADAPTER = re.compile("adapter|^x?lora|loras?$")
# A prompt is text, or refers to a stored one: if it is an object, and always in the Responses API.
PROMPT = "prompt"

# Requests within a request: their members are read like those of the body.
NESTED_REQUESTS = frozenset({"requests", "generatecontentrequest"})
# The caller's own labels: text, but servers of an operator's own (routers, LiteLLM) may choose the model by them.
LABELS = frozenset({"metadata", "labels"})
# The user's text, data and schemas, which are not searched; "." separates a member from its own members.
FREE_TEXT = frozenset(
    {
        # prompts and what comes with them
        "messages", "input", "inputs", "content", "contents", "system", "systeminstruction", "instructions",
        "prediction.content", "query", "documents", "texts", "suffix",
        # the caller's own labels
        *LABELS, "user", "modelarmorconfig",
        # schemas of the model's output
        "responseformat", "outputformat", "outputconfig.format", "text.format", "generationconfig.responseschema",
        "generationconfig.responsejsonschema", "documentannotationformat", "bboxannotationformat", "guidedjson",
        # schemas and examples of the caller's tools
        "functions", "tools.function.parameters", "tools.custom.inputschema", "tools.functiondeclarations",
    }
)  # fmt: skip
# The same of a tool that the caller runs: in one that the provider runs, such as OpenRouter's, they are its settings.
FREE_TEXT_OF_OWN_TOOLS = frozenset(
    {"tools.parameters", "tools.inputschema", "tools.outputschema", "tools.inputexamples"}
)
# Types of tools that the caller runs; one without a type is one, too.
OWN_TOOLS = frozenset({"function", "custom"})

_PLAIN = re.compile(r"[ -~]*")
_NO_LETTER = re.compile(r"[^a-z0-9]")
_SEPARATORS = re.compile(r"[\[\].]+")


def fold(name: str) -> str:
    """Normalize a member's name like the most lenient parser: letters and digits only.

    Case and width of characters are ignored.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    return _NO_LETTER.sub("", name.casefold())


def is_plain(name: str) -> bool:
    """Whether a member's name has only characters that every server reads alike."""
    return _PLAIN.fullmatch(name) is not None


def is_like_model(folded: str) -> bool:
    """Whether a member of this name holds a model, or something with models in it."""
    return any(word in folded for word in LIKE_A_MODEL)


def is_model(folded: str) -> bool:
    """Whether a query parameter, form field or header of this name holds a model."""
    return folded in ONE_MODEL or folded in ONE_MODEL_AT_TOP or is_like_model(folded)


def right_for(folded: str) -> str:
    """The right that a member, parameter, form field or header needs; "" for none."""
    return RIGHT_NEEDED.get(folded) or (OTHER if _ADAPTER.search(folded) else "")


def segments(field: str) -> list[str]:
    """Split the name of a form field or query parameter into folded names.

    Handles `tools[0][model]` and `prompt.id`.
    """
    return [fold(part) for part in _SEPARATORS.split(field) if part]
