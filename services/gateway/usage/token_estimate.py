"""Counts the tokens of a stream whose provider did not state them, by the vocabulary o200k.

Near exact for OpenAI's text. Others' models cut text differently, and every provider adds marks around messages and
calls of tools: `_HABITS` says what that came to in recorded traffic. It errs most on prompts that declare tools. The
vocabulary costs 50 ms and 66 MB, half of it shared by all workers: it is loaded when the first stream needs it, and
never while providers say what they charge for.
"""

import importlib.machinery
import importlib.util
import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from services.gateway.usage import token_text
from shared.events import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Estimate

log = logging.getLogger(__name__)

MAX_BODY = 2 << 20  # bytes of a request that are read for counting; the prompt of a larger one stays unknown
_WHOLE = 32 << 10  # characters that are counted one by one; of more, samples are
_SAMPLES = 64


class Overhead(NamedTuple):
    """Tokens that a provider counts beside the texts, and how much finer than OpenAI's its models cut a text."""

    message: int
    prompt: int
    call: int
    scale: float = 1.0


# OpenAI's own words on messages; the rest are medians of some 400 answers of gpt-4o to 5.2, Claude 4 to 4.6 and Gemini
# 2 to 3, recorded with their usage by an open test suite: texts of 40 tokens and more are off by 0 to 3 % (median).
_HABITS = {
    OPENAI_CHAT: Overhead(message=3, prompt=3, call=8),
    OPENAI_RESPONSES: Overhead(message=3, prompt=3, call=8),
    ANTHROPIC: Overhead(message=3, prompt=3, call=40, scale=1.13),
    GEMINI: Overhead(message=0, prompt=0, call=0, scale=1.05),
}


class _Tokenizer(Protocol):
    def count(self, text: str) -> int: ...


class Vocabulary:
    """A tokenizer that is loaded at first need; where its package is missing nothing is counted."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tokenizer: _Tokenizer | None = None
        self._tried = False

    def _load(self) -> _Tokenizer | None:
        if not self._tried:
            self._tried = True
            try:
                self._tokenizer = _core().tokenizer_for_encoding(self._name)
            except Exception as error:  # of whatever kind: a client's stream must not end for it
                log.warning("streams without usage are not estimated, for want of a tokenizer: %s", error)
        return self._tokenizer

    def count(self, pieces: Sequence[str]) -> tuple[int, bool] | None:
        """(tokens, drawn up from samples) of these texts; None without a tokenizer."""
        tokenizer = self._load()
        if tokenizer is None:
            return None
        size = sum(map(len, pieces))
        if size <= _WHOLE:
            return sum(_count(tokenizer, piece) for piece in pieces), False
        whole, step = "".join(pieces), size // _SAMPLES
        length = _WHOLE // _SAMPLES
        counted = sum(_count(tokenizer, whole[at * step : at * step + length]) for at in range(_SAMPLES))
        return round(counted * size / _WHOLE), True


VOCABULARY = Vocabulary("o200k_base")


def estimate(dialect: str, *, body: bytes, events: Iterable[bytes], times: float = 1.0) -> Estimate | None:
    """What a request and its stream hold. `events`: JSON of the stream's first events; there was `times` as much.

    None when nothing can be counted here. Never raises, whatever the bytes are.
    """
    try:
        prompt, answer = _prompt(dialect, body), _answer(dialect, events, times)
    except Exception:  # a nesting too deep, a key of a kind that nobody thought of: bookkeeping may fail
        log.exception("tokens could not be counted")
        return None
    if prompt is None and answer is None:
        return None
    return Estimate(
        input=None if prompt is None else prompt[0],
        output=None if answer is None else answer[0],
        sampled=any(one is not None and one[1] for one in (prompt, answer)),
    )


def _prompt(dialect: str, body: bytes) -> tuple[int, bool] | None:
    if not body or len(body) > MAX_BODY:
        return None
    try:
        pieces, messages = token_text.prompt(dialect, body)
    except ValueError:  # NoText, no JSON
        return None
    habits = _HABITS[dialect]
    return _tally(pieces, habits, around=habits.message * messages + habits.prompt)


def _answer(dialect: str, events: Iterable[bytes], times: float) -> tuple[int, bool] | None:
    try:
        pieces, calls = token_text.answer(dialect, events)
    except token_text.NoText:
        return None
    habits = _HABITS[dialect]
    return _tally(pieces, habits, around=habits.call * calls, times=times)


def _tally(pieces: list[str], habits: Overhead, *, around: int, times: float = 1.0) -> tuple[int, bool] | None:
    counted = VOCABULARY.count(pieces)
    return counted and (round((counted[0] * habits.scale + around) * times), counted[1] or times > 1)


def _count(tokenizer: _Tokenizer, text: str) -> int:
    try:
        return tokenizer.count(text)
    except UnicodeEncodeError:  # half a surrogate pair, as "\ud83d" in JSON can be
        return tokenizer.count(text.encode("utf-8", "replace").decode())


def _core() -> Any:
    """The compiled part of bpe-openai alone: the package around it takes 0.4 s and 70 MB for tables that go unused."""
    package = importlib.util.find_spec("bpe_openai")
    if package is None:
        raise ImportError("bpe-openai is not installed")
    name = "bpe_openai._bindings"
    spec = importlib.machinery.PathFinder.find_spec(name, package.submodule_search_locations)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is not there")
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    return core
