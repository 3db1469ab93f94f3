"""Migrations and views: what databases have seen stays as it was."""

import hashlib

from services.logger import schema

# Digests of released files. A database may have seen any of them: changes go into a new migration.
FROZEN = {
    "0001_events.sql": "08876a95893966cc",
    "0003_usage.sql": "83cb9a0678288c3e",
    "0010_repricing.sql": "fe4aabf8ac232e23",
    "0011_erasures.sql": "7abbf54ae44ca7cd",
    "0012_batches.sql": "d25a189350210744",
    "0013_narrow.sql": "bad27df0293d2cc2",
    "0014_faults.sql": "18147ff549245aff",
    "0016_accepted.sql": "a268f9605ffab2c6",
    "0017_row_policies.sql": "075217649435d245",
    "0018_schema_versions.sql": "a725eeee202a6330",
    "0019_last_at.sql": "9492079897d0714f",
    "0020_definitions.sql": "961c8a094a65344b",
    "0021_agents.sql": "7013de4a9d26ab26",
    "0022_billing.sql": "49984080f801a87c",
    "0023_days.sql": "c352c75f5e7401fd",
    "0024_connections.sql": "25351715cd169d5a",
    "0025_imports.sql": "eddd18e087dfebd1",
    "0026_turns.sql": "008b865e7e4e7adf",
    "0027_reported_costs.sql": "60d0f20d4c57f2b5",
    "0028_session_days.sql": "41b18c8316f70d1f",
}
# Version of views.sql and the digest of what it was made of, views and migrations together.
VIEWS = (11, "0870fd6d146d86f4")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_migration_that_databases_have_seen_never_changes() -> None:
    files = {path.name: digest(path.read_text()) for path in schema.MIGRATIONS.glob("[0-9]*.sql")}
    assert files == FROZEN, "add a migration instead, and its digest here"


def test_changed_views_or_columns_have_a_new_version() -> None:
    made_of = digest("\n".join((*schema.migrations(), *schema.views())))
    assert (schema.views_version(), made_of) == VIEWS, "raise the version in views.sql, then change both here"


def test_migrations_hold_no_views_and_include_nothing() -> None:
    for path in schema.MIGRATIONS.glob("[0-9]*.sql"):
        assert "-- include" not in path.read_text(), path.name
        assert "CREATE OR REPLACE VIEW" not in path.read_text(), path.name
