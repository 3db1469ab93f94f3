"""Other OpenAI-style endpoints: embeddings, images, audio, files, batches, models."""

from services.gateway.dialects.dialect import Dialect
from services.gateway.parsing import sse
from shared import events, providers

DIALECT = Dialect(
    name=events.OPENAI_OTHER,
    api=providers.OPENAI_API,
    null_usage=True,
    event_marks=(b"error", sse.DONE),
    usage_names=(
        *("input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "input_token_details"),
        *("output_token_details", "output_tokens_details", "type", "seconds", "pages_processed"),
        *("image_gen", "web_search", "model"),
    ),
    ignored_parameters=frozenset({"user"}),
    document_only={"/embeddings": "data"},
)
