"""Settings are read and written as the parsers of the tools themselves read them: python-dotenv, a shell."""

import io
import subprocess
import time

import dotenv
import pytest

from shared.agent_tools import documents
from shared.agent_tools.model import DOTENV, SHELL

# name: text. Each has a value of K as its last assignment, or none.
DOTENV_FILES = {
    "plain": "A=1\nK=abc\n",
    "without a line end": "K=1",
    "repeated": "K=1 # one\n# between\nK=2 # two\n",
    "comment": "K=abc # comment\n",
    "comment behind a tab": "K=a\t# c\n",
    "comment behind quotes": 'K="abc" # comment\n',
    "comment close behind quotes": "K='abc'# c\n",
    "hash within": "K=a#b\n",
    "hash in quotes": 'K="a # b"\n',
    "spaces": "K = abc\n",
    "indented": "   K=1\n",
    "exported": "export K=abc\n",
    "name in quotes": "'K'=1\n",
    "other names": "MY-KEY=1\nK.a=2\nKK=3\nK=4\n",
    "empty": "K=\nA=1\n",
    "absent": "A=1\n# K=2\n",
    "several lines in single quotes": "NOTE='line 1\nK=inner\nline 3'\nK=real\n",
    "several lines in double quotes": 'NOTE="line 1\nK=inner\n\\"line 3"\nK=real\n',
    "several lines, and K is none": "NOTE='line 1\nK=inner\n'\nA=1\n",
    "its own several lines": "K='a\nb'\nA=1\n",
    "form feed": "A=1\x0cK=3\nK=2\n",
    "line separator": "A=x\u2028K=9\nK=2\n",
    "empty file": "",
}


def read(text: str) -> dict[str, str | None]:
    return dict(dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False))


@pytest.mark.parametrize("name", DOTENV_FILES)
@pytest.mark.parametrize("value", ["https://x/api", "x-a: a b", 'x-a: "b" # $c', "it's", "a\\b"])
def test_a_dotenv_file_says_what_was_written_and_all_else_as_before(name: str, value: str) -> None:
    text = DOTENV_FILES[name]
    before = read(text)
    document = documents.parse(DOTENV, text)
    assert document.get(("K",)) == before.get("K")
    document.set(("K",), value)
    assert read(document.text) == before | {"K": value}
    assert document.get(("K",)) == value
    document.delete(("K",))
    assert read(document.text) == {name: value for name, value in before.items() if name != "K"}


def test_the_rest_of_a_changed_line_stays() -> None:
    document = documents.parse(DOTENV, "  export K = 'old' # mine\nL=1#2\n")
    document.set(("K",), "new")
    assert document.text == "  export K = new # mine\nL=1#2\n"


def test_a_value_that_no_quotes_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="no quotes"):
        documents.parse(DOTENV, "").set(("K",), "'\"`")


def test_a_hostile_dotenv_file_is_read_in_bounded_time() -> None:
    document = documents.parse(
        DOTENV, "A='" + "\\'" * 100_000 + "\nB='\\'\nC=\"" + '\\"' * 100_000 + "\n" + "K=1 " * 50_000
    )
    before = time.process_time()
    document.get(("K",))
    assert time.process_time() - before < 20


@pytest.mark.parametrize(
    "text",
    [
        "export K=old # mine\nexport A=1\n",
        "export NOTE='a\nexport K=inner\n'\nexport K=old\n",
        'export NOTE="a \\"\nexport K=inner\n"\nexport A=1\n',
        "export A=$'it\\'s\nK=1' K=2\nexport K=$'a\\nb'\n",
        "alias K=ls\nexport A=\\ b\n",
    ],
)
@pytest.mark.parametrize("value", ["https://x/api", "a: b\nc: d", 'it\'s "$HOME"'])
def test_a_script_exports_what_was_written_and_all_else_as_before(text: str, value: str) -> None:
    def exported(script: str, name: str) -> str:
        command = f'{script}\nprintf %s "${name}"'
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env={}).stdout

    document = documents.parse(SHELL, text)
    document.set(("K",), value)
    assert exported(document.text, "K") == value
    for name in ("NOTE", "A"):
        assert exported(document.text, name) == exported(text, name)
    assert document.get(("K",)) == value
    assert "# mine" not in text or "# mine" in document.text
