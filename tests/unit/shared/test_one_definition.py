"""Errors, cache hits, estimates and model names: no query spells out what the schema defines."""

import re

from tests.support.paths import ROOT

SPELLED_OUT = re.compile(
    r"outcome (?:NOT )?IN \('complete', 'client_closed'\)|status >= 400 OR|cache !?= 'HIT'"
    r"|usage_source = 'estimated'|cost_source = 'estimated'|if\((?:\w+\.)?model = ''"
)
FOLDERS = ("services", "shared", "deploy")
KINDS = ("*.sql", "*.py", "*.json", "*.html", "*.js")


def test_errors_and_estimates_are_defined_only_in_the_schema() -> None:
    files = [path for folder in FOLDERS for kind in KINDS for path in (ROOT / folder).rglob(kind)]
    found = {str(path.relative_to(ROOT)) for path in files if SPELLED_OUT.search(path.read_text(errors="replace"))}
    assert len(files) > 300
    assert found == {
        "services/logger/migrations/0020_definitions.sql",  # the definitions, and what rows of before are taken for
        "services/logger/migrations/0025_imports.sql",  # an imported response is not one that the gateway timed
    }
