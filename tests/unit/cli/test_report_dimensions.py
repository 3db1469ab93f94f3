"""What `metrion report --by` accepts."""

import pytest

from services.cli import report_dimensions
from services.cli.report_dimensions import BadDimension
from shared import clickhouse


@pytest.mark.parametrize(
    "given, dimensions",
    [
        (["model"], ("model", "")),
        (["requester,model"], ("requester", "model")),
        (["requester", "metadata:team"], ("requester", "metadata:team")),
        (["day, metadata:a:b"], ("day", "metadata:a:b")),
    ],
)
def test_one_or_two_dimensions_are_accepted(given: list[str], dimensions: tuple[str, str]) -> None:
    assert report_dimensions.parse(given) == dimensions


@pytest.mark.parametrize(
    "given", [["nothing"], [""], ["model,"], ["metadata:"], ["model,model"], ["model", "model"], ["day,model,token"]]
)
def test_unknown_repeated_and_too_many_dimensions_are_refused(given: list[str]) -> None:
    with pytest.raises(BadDimension):
        report_dimensions.parse(given)


@pytest.mark.parametrize("name", report_dimensions.NAMES)
def test_the_sql_knows_every_dimension(name: str) -> None:
    assert f"dimension = '{name}'," in clickhouse.text("report")


def test_the_shell_completes_the_last_name() -> None:
    assert report_dimensions.completed("requester,mo") == ["requester,model", "requester,month"]
    assert report_dimensions.completed("meta") == ["metadata:"]
