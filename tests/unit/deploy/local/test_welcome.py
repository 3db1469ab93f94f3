"""What a start ends with."""

from datetime import UTC, datetime
from pathlib import Path

from deploy.local import plan, welcome
from shared import sql_users


def test_the_welcome_text_suggests_no_query_that_would_be_refused(tmp_path: Path) -> None:
    settings = plan.Settings(data_dir=tmp_path)

    def text() -> str:
        return welcome.text(settings, token="sk-metrion-x", valid=True, caller={})

    assert "FROM metrion.requests" in text()
    (tmp_path / "clickhouse").mkdir()
    user = sql_users.SqlUser(name="bi", account="a", sha256="0" * 64, created_at=datetime.now(UTC))
    (tmp_path / "clickhouse" / "sql_users.json").write_bytes(sql_users.encode((user,)))
    assert "FROM metrion.requests" not in text() and "from openai import OpenAI" in text()
