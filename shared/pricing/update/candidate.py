"""A candidate for new prices: its changes, and objections to it."""

from collections.abc import Sequence

import msgspec

from shared.pricing.catalog import Catalog
from shared.pricing.genai_prices import Library
from shared.pricing.table import Accepted, Table
from shared.pricing.update import differences, guards
from shared.pricing.update.differences import Difference
from shared.pricing.update.genai_release import Release, UnreadableRelease
from shared.pricing.update.guards import Objection


class Candidate(msgspec.Struct, frozen=True):
    """New prices beside those in use."""

    catalog: Catalog
    differences: Sequence[Difference]
    objections: Sequence[Objection]
    skipped: dict[str, str]  # models whose prices are not understood, with the reason

    @property
    def is_refused(self) -> bool:
        """Whether it cannot be accepted, not even with --accept."""
        return any(not objection.can_be_overruled for objection in self.objections)


def propose(release: Release, current: Catalog | None) -> Candidate:
    """Compare a release with the catalog in use; None: the installed package.

    Takes seconds of CPU. UnreadableRelease if its prices cannot be worked with.
    """
    in_use = Library(current, alone=current is not None)
    try:
        found = differences.compare(in_use, Library(release.catalog, alone=True))
        table = Table.parse(None, Accepted("candidate", release.catalog))
        objections = guards.objections(found, table)
    except Exception as error:  # what passes all checks of its form and still breaks the package's own code
        raise UnreadableRelease(f"not a usable release of genai-prices: {type(error).__name__} {error}") from error
    return Candidate(release.catalog, found, objections, release.skipped)
