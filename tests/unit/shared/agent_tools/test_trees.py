"""Values written to YAML files are read as PyYAML reads them."""

import pytest
import yaml

from shared.agent_tools import catalog, documents, merge
from shared.agent_tools.model import YAML, Item, Values

TEXTS = ("yes", "No", "on", "null", "~", "007", "0o7", "1_000", "12:30", "1e3", "2026-01-01", "=", "<<", "y", ".5", "a b", "a: b", "x-y")  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_requester_is_a_string_for_readers_of_either_version_of_yaml(text: str) -> None:
    values = Values(
        gateway="https://llm.example.com", token="sk-metrion-" + "a" * 32, model=text, headers={"x-metrion-user": text}
    )
    file = catalog.LLM.files[0]
    written = merge.configured(file, "- model_id: other # mine\n", values)
    assert yaml.safe_load(written)[1]["headers"] == {"x-metrion-user": text}
    assert yaml.safe_load(written)[1]["model_name"] == text
    item = Item("model_id", "metrion")
    assert documents.parse(YAML, written).get((item, "headers", "x-metrion-user")) == text
    assert merge.configured(file, written, values) == written
