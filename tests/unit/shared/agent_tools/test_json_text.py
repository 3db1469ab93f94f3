"""Editing JSON leaves formatting, comments and everything else as they are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.agent_tools.json_text import JsonText

COMMENTED = """\
// my settings
{
    // as dark as possible
    "theme": "dark", /* really */
    "env": {
        "FOO": "1" // needed
    }, // end of env
}
"""


def test_comments_indentation_and_trailing_commas_stay() -> None:
    document = JsonText(COMMENTED)
    document.set(("env", "A"), "x")
    document.set(("model", "name"), "m")
    document.set(("theme",), "light")
    assert document.text == COMMENTED.replace('"1" //', '"1", //').replace(
        "// needed\n    }", '// needed\n        "A": "x"\n    }'
    ).replace('"dark"', '"light"').replace(
        "// end of env\n", '// end of env\n    "model": {\n        "name": "m"\n    },\n'
    )


@pytest.mark.parametrize(
    "text", [COMMENTED, '{"a": 1}', '{\n\t"a": [1, {"b": null}],\n\t"c": {}\n}', '\ufeff{"a":1}\n']
)
def test_deleting_what_was_written_gives_the_same_text(text: str) -> None:
    document = JsonText(text)
    for path in (("env", "A"), ("env", "B"), ("x", "y", "z")):
        document.set(path, "v")
        assert document.get(path) == "v"
    for path in (("env", "A"), ("x", "y", "z"), ("env", "B")):
        document.delete(path)
        assert document.get(path) is None
    assert document.text == text


@pytest.mark.parametrize("text", ["", "\n", "// nothing here yet\n"])
def test_an_empty_file_becomes_an_object(text: str) -> None:
    document = JsonText(text)
    document.set(("a", "b"), True)
    assert document.text.startswith(text.strip())
    assert document.text.endswith('{\n  "a": {\n    "b": true\n  }\n}\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "not a JSON object"),
        ('{"a": 1} x', "line 1: unexpected text"),
        ('{\n"a" 1}', "line 2: a colon"),
        ('{\n"a": 1\n"b": 2}', "line 3: a name or }"),
        ('{"a": }', "a value is missing"),
        ('{"a": nope}', "invalid value 'nope'"),
        ('{"a": "x', "unfinished string"),
        ('{"a": ' + "[" * 2000, "nested too deeply"),
        ("{", "a name or }"),
    ],
)
def test_malformed_json_is_an_error_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("}", r"\}").replace("{", r"\{")):
        JsonText(text)


def test_a_value_that_is_no_object_is_not_replaced_by_one() -> None:
    with pytest.raises(ValueError, match=r"a\.b is not an object"):
        JsonText('{"a": {"b": 1}}').set(("a", "b", "c"), "x")


def test_of_a_repeated_name_the_last_one_counts() -> None:
    document = JsonText('{"a": 1, "a": 2}')
    assert document.get(("a",)) == 2
    document.set(("a",), 3)
    assert json.loads(document.text) == {"a": 3}
    document.delete(("a",))
    assert json.loads(document.text) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", 'q"', "ü"])


@given(
    st.dictionaries(st.text(max_size=3), VALUES, max_size=4),
    st.lists(NAMES, min_size=1, max_size=3),
    st.sampled_from([None, 2, "\t"]),
)
def test_an_edit_changes_only_its_path(document: dict[str, object], path: list[str], indent: int | str | None) -> None:
    edited = JsonText(json.dumps(document, indent=indent))
    try:
        edited.set(tuple(path), "new")
    except ValueError:
        return  # something else is in the way
    place: object = json.loads(json.dumps(document))
    expected = place
    for name in path[:-1]:
        assert isinstance(place, dict)
        place = place.setdefault(name, {})
    assert isinstance(place, dict)
    place[path[-1]] = "new"
    assert json.loads(edited.text) == expected
    edited.delete(tuple(path))
    del place[path[-1]]
    assert edited.get(tuple(path)) is None
