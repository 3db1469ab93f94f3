"""A token that is confined to models must never reach another one, however a request is written."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.parsing import strict_json
from services.gateway.parsing.strict_json import Ambiguous
from services.gateway.request import named_models, requirements
from services.gateway.request.named_models import Unreadable
from shared.rights import BATCHES, FILES, OTHER, STORED, TUNING
from tests.support.strategies import JsonSample, json_samples


def models(text: bytes, *, is_response: bool = False) -> list[str] | None:
    """The models that the gateway reads with certainty; None when it refuses."""
    try:
        return named_models.read(text, is_response=is_response, required=True).models
    except Unreadable:
        return None


def lenient_readings(body: bytes) -> Iterator[Any]:
    """The model as providers may read it: the last or the first of a name, in any letter case, in any encoding."""
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"):
        try:
            pairs = json.loads(body.decode(codec), strict=False, object_pairs_hook=list)
        except (ValueError, RecursionError):
            continue
        if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
            continue
        exact = [value for name, value in pairs if name == "model"]
        folded = [value for name, value in pairs if name.lower().strip() == "model"]
        yield from (*exact[:1], *exact[-1:], *folded[:1], *folded[-1:])


LARGE = b'{"messages":[{"content":"' + b"x" * (5 << 20) + b'%b"}],"model":"m"%b}'


@pytest.mark.parametrize(
    ("text", "more", "names"),
    [
        (b"", b"", ["m"]),
        ("é".encode(), b"", ["m"]),
        (b"\\u00e9", b',"input":"' + b"y" * 2000 + b'"', ["m"]),
        (b"\xff", b"", None),
        (b"", b',"model":"other"', None),
        (b"", b',"Model":"other"', None),
        (b"", b',"fallbacks":["other"]', ["m", "other"]),
        (b'"}],"model":"other","x":["', b"", None),
        (b"", b',"input":[' + b"1," * (2 << 20) + b"1]", None),
        (b"", b',"input":[' + b"{}," * (1 << 20) + b"1]", None),
    ],
)
def test_the_models_of_a_large_request_are_certain_or_refused(
    text: bytes, more: bytes, names: list[str] | None
) -> None:
    assert models(LARGE % (text, more)) == names


@given(json_samples(without={"compressed", "content_type"}))
def test_the_model_of_an_unusual_body_is_certain_or_refused(sample: JsonSample) -> None:
    found = models(sample.body)
    if found is not None:
        assert set(sample.values["model"]) == set(found)
        assert set(lenient_readings(sample.body)) <= set(found)  # Python refuses numbers of 5,000 digits


NAMES = [
    "model",
    "Model",
    "MODEL",
    "mo\\u0064el",
    "\\u006dodel",
    "m\\u006fdel ",
    "model\\u0000",
    "modeL",
    "x",
    "messages",
    "mod\\u00e9l",
]
VALUES = [
    '"allowed"',
    '"forbidden"',
    '["forbidden"]',
    '{"model":"forbidden"}',
    "null",
    "1",
    '"a\\"model\\":\\"forbidden"',
    "[]",
]
GAPS = ["", " ", "\n", "\t", "\r\n", "\f", "\xa0", "/**/", "\ufeff", "\0"]
MEMBERS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES), st.sampled_from(GAPS), st.sampled_from(GAPS)), max_size=5
)


@given(MEMBERS, st.sampled_from(GAPS), st.sampled_from(["", ",", "}", '{"model":"forbidden"}', "\0"]))
@example([("model", '"allowed"', "", ""), ("x", "1", "", ""), ("model", '"forbidden"', "", "")], "", "")
def test_no_provider_reads_a_model_that_the_gateway_did_not(
    members: list[tuple[str, str, str, str]], before: str, after: str
) -> None:
    written = ",".join(f'{a}"{name}"{b}:{a}{value}{b}' for name, value, a, b in members)
    body = f"{before}{{{written}}}{after}".encode()
    if (found := models(body)) is not None:
        assert set(lenient_readings(body)) <= set(found)


@given(
    st.dictionaries(st.text(max_size=6), st.integers() | st.text(max_size=6), max_size=6), st.sampled_from([None, 0, 3])
)
def test_an_object_written_by_a_strict_writer_is_read_as_it_is(members: dict[str, Any], indent: int | None) -> None:
    try:
        text = json.dumps(members, indent=indent, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert {name: json.loads(value) for name, value in strict_json.read(text).items()} == members


AMBIGUOUS = [
    b"",
    b"[]",
    b"\xef\xbb\xbf{}",
    '{"model":"a"}'.encode("utf-16"),
    b'{"model":"a","x":NaN}',
    b'{"model":"a","x":"\\ud83d"}',
    b'{"model":"a","x":"\xc3"}',
    b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",  # deeper than any version of Python reads
    b'{"model":"a","model":"a"}',
    b'{"model":"a","x":1,"\\u006dodel":"b"}',
    b'{"model":"a",}',
    b'{"model":"a"}{"model":"b"}',
    b'{"model":"a"}\x00',
    b"{'model':'a'}",
    b'{"model":"a"//}\n}',
    b"{" + b",".join(b'"%d":1' % n for n in range(2000)) + b"}",
]


@pytest.mark.parametrize("text", AMBIGUOUS, ids=range(len(AMBIGUOUS)))
def test_json_that_parsers_read_differently_is_ambiguous(text: bytes) -> None:
    with pytest.raises(Ambiguous):
        strict_json.read(text)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"model": "a"}, ["a"]),
        ({"model": "a", "tools": [{"type": "function", "parameters": {"model": {"type": "string"}}}]}, ["a"]),
        ({"model": "a", "tools": [{"type": "image_generation", "model": "b"}]}, ["a", "b"]),
        ({"model": "a", "tools": [{"type": "advisor", "Model": "b"}]}, ["a", "b"]),
        ({"model": "a", "models": ["b", "c"]}, ["a", "b", "c"]),
        ({"model": "a", "fallbacks": [{"model": "b"}]}, ["a", "b"]),
        ({"model": "a", "engine": "b"}, ["a", "b"]),
        ({"model": "a", "messages": [{"content": [{"type": "tool_use", "input": {"model": "T"}}]}]}, ["a"]),
        ({"model": "a", "metadata": {"model": "b"}}, ["a"]),
        ({"model": ["a"]}, None),
        ({"Model": "a"}, None),
        ({"MODEL ": "a", "model": "a"}, None),
        ({"\uff4dodel": "b", "model": "a"}, None),
        ({"model": None}, None),
        ({"messages": []}, None),
        ({"model": "a", "models": "b"}, None),
        ({"model": "a", "models": [1]}, None),
        ({"model": "a", "fallbacks": [{}]}, None),
    ],
)  # fmt: skip
def test_every_place_where_a_model_may_be_named_is_looked_at(body: dict[str, Any], names: list[str] | None) -> None:
    assert models(json.dumps(body).encode()) == names


RIGHTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a stored prompt": ({"prompt": {"id": "pmpt_1"}}, {STORED}),
    "a stored prompt in a list": ({"requests": [{"prompt": {"id": "pmpt_1"}}]}, {STORED}),
    "an agent": ({"agent_id": "ag_1"}, {STORED}),
    "an agent in another spelling": ({"Agent-ID": "ag_1"}, {STORED}),
    "an assistant": ({"assistant": "asst_1"}, {STORED}),
    "a thread": ({"thread": {"id": "thread_1"}}, {STORED}),
    "a conversation": ({"conversation": "conv_1"}, {STORED}),
    "a conversation's object": ({"conversation": {"id": "conv_1"}}, {STORED}),
    "a router's preset": ({"preset": "cheap"}, {STORED}),
    "cached content": ({"cachedContent": "cachedContents/c"}, {FILES}),
    "cached content in snake case": ({"cached_content": "cachedContents/c"}, {FILES}),
    "cached content of a compatible API": ({"extra_body": {"google": {"cached_content": "c"}}}, {FILES}),
    "cached content that is to be counted": ({"generateContentRequest": {"cachedContent": "c"}}, {FILES}),
    "a choice left to the provider": ({"generationConfig": {"routingConfig": {"autoMode": {}}}}, {OTHER}),
    "a batch's file": ({"input_file_id": "file-1"}, {BATCHES}),
    "a plain prompt": ({"prompt": "Hello"}, set()),
    "plain prompts": ({"prompt": ["Hello", '{"id":1}']}, set()),
    "an earlier response": ({"previous_response_id": "resp_1"}, set()),
    "an agent in the text": ({"messages": [{"role": "user", "content": "x", "agent_id": "a"}]}, set()),
}


@pytest.mark.parametrize("what", RIGHTS)
def test_references_to_stored_objects_with_a_model_require_a_right(what: str) -> None:
    body, needed = RIGHTS[what]
    text = json.dumps({"model": "a"} | body).encode()
    assert named_models.read(text, is_response=False, required=True).needed == needed


def test_any_prompt_of_a_responses_call_needs_a_right() -> None:
    text = b'{"model":"a","prompt":"pmpt_1"}'
    assert named_models.read(text, is_response=True, required=True).needed == {STORED}
    assert not named_models.read(text, is_response=False, required=True).needed


# Where each dialect's endpoints may name a model: the member under test names the model "b".
PLACES: dict[str, dict[str, Any]] = {
    "gemini: batchEmbedContents": {"requests": [{"model": "a", "content": {}}, {"model": "b", "content": {}}]},
    "gemini: countTokens": {"generateContentRequest": {"model": "b", "contents": []}},
    "gemini: countTokens in snake case": {"generate_content_request": {"Model": "b"}},
    "gemini: manual routing": {"generationConfig": {"routingConfig": {"manualMode": {"modelName": "b"}}}},
    "gemini: ranking of retrieved text": {"tools": [{"retrieval": {"ranking": {"llmRanker": {"modelName": "b"}}}}]},
    "gemini: a preference": {"generationConfig": {"modelSelectionConfig": {"featureSelectionPreference": "b"}}},
    "openai: a hosted tool": {"tools": [{"type": "image_generation", "model": "b"}]},
    "openai: a tool in a namespace": {"tools": [{"type": "namespace", "tools": [{"tools": [{"model": "b"}]}]}]},
    "openai: a tool's own section": {"tools": [{"type": "x", "x": {"options": [{"model_id": "b"}]}}]},
    "openai: moderation": {"moderation": {"model": "b"}},
    "openai: realtime session": {"session": {"model": "b"}},
    "openai: realtime transcription": {"session": {"audio": {"input": {"transcription": {"model": "b"}}}}},
    "openai: transcription of a session": {"input_audio_transcription": {"model": "b"}},
    "azure: data sources": {"data_sources": [{"parameters": {"embedding_dependency": {"deployment_name": "b"}}}]},
    "anthropic: an advisor": {"tools": [{"type": "advisor", "Model": "b"}]},
    "anthropic: fallbacks": {"fallbacks": [{"model": "b"}]},
    "anthropic: a batch": {"requests": [{"custom_id": "1", "params": {"model": "b", "messages": []}}]},
    "mistral: completion arguments": {"completion_args": {"model": "b"}},
    "mistral: tuning": {"hyperparameters": {"base_model": "b"}},
    "grok: search": {"search_parameters": {"model": "b"}},
    "routers: fallbacks by name": {"fallback_models": ["b"]},
    "routers: fallbacks by cause": {"context_window_fallbacks": [{"a": ["b"]}]},
    "routers: a plugin": {"plugins": [{"id": "fusion", "analysis_models": ["b"]}]},
    "routers: a fallback of a fallback": {"models": [{"model": "a", "fallbacks": ["b"]}]},
    "routers: settings of a tool that the provider runs": {
        "tools": [{"type": "openrouter:image_generation", "parameters": {"model": "b"}}]
    },
    "routers: such a tool in another spelling": {"tools": [{"Type": "x:y", "input_schema": {"judge_models": ["b"]}}]},
    "routers: a tool of two types": {"tools": [{"type": "function", "TYPE": "x:y", "parameters": {"model": "b"}}]},
    "routers: a deployment": {"specific_deployment": "b"},
    "azure: a deployment": {"azureDeployment": "b"},
    "azure: engine": {"engine": "b"},
    "a deep place": {"x": [{"y": [{"z": {"model-name": "b"}}]}]},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_model_is_found_wherever_an_api_may_take_it(place: str) -> None:
    found = models(json.dumps({"model": "a"} | PLACES[place]).encode())
    assert found is not None
    assert set(found) == {"a", "b"}


@pytest.mark.parametrize(
    "member",
    [
        {"lora": [{"id": 0, "scale": 1.0}]},
        {"lora": "b"},
        {"lora_path": "b"},
        {"lora_request": {"lora_name": "b", "lora_int_id": 1}},
        {"LoRA_ID": 7},
        {"adapter_id": "b"},
        {"adapterName": "b"},
        {"adapters": ["b"]},
        {"prompt_adapter": "b"},
        {"parameters": {"merged_adapters": {"ids": ["b"]}}},
        {"extra_body": {"x-lora": "b"}},
        {"loras": {"b": 1}},
    ],
    ids=str,
)
def test_an_adapter_which_makes_another_model_needs_a_right(member: dict[str, Any]) -> None:
    """vLLM and others load it beside the model that is named."""
    found = named_models.read(json.dumps({"model": "a"} | member).encode(), is_response=False, required=True)
    assert found.needed == {OTHER}


@pytest.mark.parametrize("name", ["exploration", "explorative_search", "adaptive", "metadata", "colorado"])
def test_other_words_are_no_adapters(name: str) -> None:
    found = named_models.read(json.dumps({"model": "a", name: "b"}).encode(), is_response=False, required=True)
    assert (found.models, found.needed) == (["a"], set())


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"metadata": {"model": "b"}}, {"a", "b"}),
        ({"metadata": {"router": {"fallbacks": ["b"]}}}, {"a", "b"}),
        ({"labels": {"model_id": "b"}}, {"a", "b"}),
        ({"metadata": {"agent_id": "x", "team": "b", "lora": "c"}}, {"a"}),
        ({"messages": [{"metadata": {"model": "b"}}]}, {"a"}),
    ],
    ids=range(5),
)
def test_labels_name_a_model_for_providers_of_an_operators_own_only(labels: dict[str, Any], names: set[str]) -> None:
    body = json.dumps({"model": "a"} | labels).encode()
    assert set(named_models.read(body, is_response=False, required=True, reads_labels=True).models) == names
    assert set(named_models.read(body, is_response=False, required=True).models) == {"a"}


FREE: list[dict[str, Any]] = [
    {"messages": [{"content": [{"type": "tool_use", "input": {"model": "T"}}]}]},
    {"input": [{"type": "function_call_output", "output": {"model": "T"}}]},
    {"contents": [{"parts": [{"functionCall": {"args": {"model": "T"}}}]}]},
    {"requests": [{"content": {"parts": [{"text": "x", "model": "T"}]}}]},
    {"generateContentRequest": {"contents": [{"model": "T"}], "systemInstruction": {"model": "T"}}},
    {
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {"const": "T"}}}}}
        ]
    },
    {"tools": [{"name": "f", "input_schema": {"properties": {"model": {"enum": ["T"]}}}}]},
    {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"properties": {"model": {"enum": ["T"]}}}}]}]},
    {"tools": [{"type": "namespace", "tools": [{"type": "function", "parameters": {"model": "T"}}]}]},
    {"tools": [{"type": "custom", "name": "f", "input_schema": {"properties": {"model": {"const": "T"}}}}]},
    {"tools": [{"type": None, "name": "f", "parameters": {"model": "T"}, "input_examples": [{"model": "T"}]}]},
    {"response_format": {"json_schema": {"schema": {"properties": {"model": {"const": "T"}}}}}},
    {"text": {"format": {"schema": {"properties": {"model": {"const": "T"}}}}}},
    {"generationConfig": {"responseSchema": {"properties": {"model": {"enum": ["T"]}}}}},
    {"metadata": {"model": "T", "agent_id": "x"}},
    {"modalities": ["text"], "max_tokens": 5, "stream_options": {"include_usage": True}},
    {"tools": None, "models": None, "agent_id": None, "prompt": None},
]


@pytest.mark.parametrize("body", FREE, ids=range(len(FREE)))
def test_the_users_own_text_and_schemas_name_no_model(body: dict[str, Any]) -> None:
    found = named_models.read(json.dumps({"model": "a"} | body).encode(), is_response=False, required=True)
    assert (found.models, found.needed) == (["a"], set())


LOOKALIKES = ["model\0", "\0model", "model\0x", " model", "model ", "\tmodel", "mo\u200bdel", "MODEL", "Model", "mo_del", "model[]", "\uff4dodel", "m\u03bfdel"]  # fmt: skip


@pytest.mark.parametrize("name", LOOKALIKES, ids=[ascii(name) for name in LOOKALIKES])
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"requests": [one]}, lambda one: {"tools": [one]}])
def test_a_member_that_a_lenient_server_takes_for_the_model_is_read_or_refused(name: str, wrap: Any) -> None:
    for ensure_ascii in (True, False):
        text = json.dumps({"model": "a"} | wrap({name: "b"}), ensure_ascii=ensure_ascii).encode()
        found = models(text)
        assert found is None or set(found) == {"a", "b"}


@pytest.mark.parametrize(
    "text",
    [
        b'{"model":"a","requests":[{"model":"b","model":"a"}]}',
        b'{"model":"a","tools":[{"x":{"model":"b","\\u006dodel":"a"}}]}',
        b'{"model":"a","tools":[],"tools":[{"model":"b"}]}',
        b'{"model":"a","x_models":{"y":"a","y":"b"}}',
        b'{"model":"a","x":' + b'[{"y":' * 20 + b"1" + b"}]" * 20 + b"}",
        b'{"model":"a","x":[' + b"{}," * 30_000 + b"{}]}",
        b'{"model":"a","tools":[{"model":["b"]}]}',
    ],
)
def test_ambiguity_deep_in_a_request_is_detected(text: bytes) -> None:
    assert models(text) is None


@pytest.mark.parametrize(
    ("method", "path", "required"),
    [
        ("POST", "/v1/chat/completions", requirements.MODEL),
        ("POST", "/v1beta/openai/chat/completions", requirements.MODEL),
        ("POST", "/openai/deployments/d/chat/completions", requirements.MODEL),
        ("POST", "/openai/v1/responses", requirements.MODEL),
        ("POST", "/v1/messages", requirements.MODEL),
        ("POST", "/v1/messages/count_tokens", requirements.MODEL),
        ("POST", "/v1/audio/transcriptions", requirements.MODEL),
        ("POST", "/v1beta/models/m:generateContent", requirements.MODEL),
        ("POST", "/v1/projects/p/locations/l/publishers/google/models/m:generateContent", requirements.MODEL),
        ("GET", "/v1/models", requirements.NOTHING),
        ("GET", "/v1/models/ft:gpt-4o:org", requirements.NOTHING),
        ("GET", "/v1/responses/resp_1", requirements.NOTHING),
        ("POST", "/v1/responses/resp_1/cancel", requirements.NOTHING),
        ("POST", "/v1/messages/batches", BATCHES),
        ("GET", "/v1/messages/batches/b/results", BATCHES),
        ("POST", "/v1/batches", BATCHES),
        ("POST", "/v1/batch/jobs", BATCHES),
        ("POST", "/v1beta/models/m:batchGenerateContent", BATCHES),
        ("POST", "/v1/files", FILES),
        ("POST", "/upload/v1beta/files", FILES),
        ("GET", "/v1beta/files/f:download", FILES),
        ("POST", "/v1/threads/runs", STORED),
        ("POST", "/v1/agents/completions", STORED),
        ("POST", "/v1/chat/completions/c", STORED),
        ("GET", "/v1/chat/completions", STORED),
        ("POST", "/v1/conversations", STORED),
        ("POST", "/v1/fine_tuning/jobs", TUNING),
        ("DELETE", "/v1/models/m", TUNING),
        ("POST", "/v1/Chat/Completions", OTHER),
        ("PUT", "/v1/chat/completions", STORED),
        ("POST", "/v1/realtime/client_secrets", OTHER),
        ("POST", "/v1/models/m:rawPredict", TUNING),
        ("POST", "/v1/whatever/chat/completions", OTHER),
    ],
)  # fmt: skip
def test_each_endpoint_requires_a_model_a_right_or_nothing(method: str, path: str, required: str) -> None:
    assert requirements.required(method, path) == required
