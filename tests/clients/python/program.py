"""Entry point of the client programs: reads a call, prints its results as JSON."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


def main(calls: Callable[[str, str], Mapping[str, Callable[[], Any]]]) -> None:
    """Run the call asked for; `calls` takes base URL and key, the two values that an application changes."""
    asked = json.loads(sys.argv[1])
    answers = [_answer(calls(way["base"], way["key"])[asked["call"]]) for way in asked["ways"]]
    print(json.dumps(answers, default=str))


def _answer(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": call()}
    except Exception as error:
        status = getattr(error, "status_code", None)
        return {"error": {"name": type(error).__name__, "status": status, "message": str(error)}}
