"""A query runner for tests that load many pages."""

import copy
from collections.abc import Set

from services.dashboard.queries import runner
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner
from tests.support import servers


class SparingRunner(QueryRunner):
    """Runs no more queries than a test looks at.

    `only`: names of the queries that it looks at; to others there are no rows. `results`: those of queries that ran
    before, which do not run again: for data that do not change. Several runners may share them.
    """

    def __init__(
        self, url: str, *, only: Set[str] | None = None, results: dict[str, QueryResult] | None = None
    ) -> None:
        super().__init__(url, seconds=servers.DEADLINE)
        self.only = only
        self.results = results

    async def run(self, query: Query) -> QueryResult:
        """Run a query unless that is spared."""
        if self.only is not None and query.name not in self.only:
            return QueryResult([])
        if self.results is None:
            return await super().run(query)
        parameters = {name: query.parameters[name] for name in runner.names(query.sql)}
        key = repr((query.sql, parameters, sorted(query.settings.items())))
        if key not in self.results:
            result = await super().run(query)
            if result.failure:
                return result
            self.results[key] = result
        return copy.deepcopy(self.results[key])
