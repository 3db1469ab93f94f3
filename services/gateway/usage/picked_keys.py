"""The JSON keys extracted from a response: no others leave the gateway."""

import msgspec


class Pick(msgspec.Struct, omit_defaults=True):
    """The top-level keys that may bear on money; no other leaves the gateway."""

    model: msgspec.Raw = msgspec.Raw()
    modelVersion: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    usageMetadata: msgspec.Raw = msgspec.Raw()
    usage_info: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    code: msgspec.Raw = msgspec.Raw()
    object: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    endpoint: msgspec.Raw = msgspec.Raw()
    background: msgspec.Raw = msgspec.Raw()
    svg_usage: msgspec.Raw = msgspec.Raw()
    tool_usage: msgspec.Raw = msgspec.Raw()  # of hosted tools: an image model's tokens, searches
    request_id: msgspec.Raw = msgspec.Raw()  # of a response that is to be fetched later
    event_type: msgspec.Raw = msgspec.Raw()  # of Gemini's interactions
    message: msgspec.Raw = msgspec.Raw()  # Anthropic's message_start, or an error's text
    response: msgspec.Raw = msgspec.Raw()  # events of the Responses API
    interaction: msgspec.Raw = msgspec.Raw()  # events of Gemini's interactions
    output: msgspec.Raw = msgspec.Raw()  # only counted
    tools: msgspec.Raw = msgspec.Raw()  # type and model of the provider's own
    candidates: msgspec.Raw = msgspec.Raw()  # only counted, and looked at for the end
    promptFeedback: msgspec.Raw = msgspec.Raw()  # only looked at for the end


class Inner(msgspec.Struct):
    """The same for an object inside another.

    Anthropic's `message`, the Responses API's `response`, Gemini's `interaction`.
    """

    id: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    incomplete_details: msgspec.Raw = msgspec.Raw()
    background: msgspec.Raw = msgspec.Raw()
    tool_usage: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    inlinedResponses: msgspec.Raw = msgspec.Raw()  # of a Gemini batch: only added up


# Objects of counts, of which a large one is reduced to the counts that are known.
COUNTED = frozenset({"usage", "usageMetadata", "usage_info", "svg_usage", "tool_usage"})
IN_ERROR = ("type", "code", "status", "param", "message")
OBJECTS = ("message", "response", "interaction")
# (Name, its text in JSON) of the keys that are passed on as they are.
PLAIN = tuple(
    (name, b'"%s":' % name.encode())
    for name in Pick.__struct_fields__
    if name not in (*OBJECTS, "output", "tools", "candidates", "promptFeedback")
)
MESSAGE = (("message", b'"message":'),)
INNER = tuple((name, b'"%s":' % name.encode()) for name in Inner.__struct_fields__[:-3])
