"""Accepts new prices, and goes back to earlier ones: the work of `metrion prices`."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.cli import audit_log, confirm, nats_connection, output, servers
from services.cli.errors import Refused
from services.cli.outcome import Outcome
from shared import decimals
from shared.pricing import genai_prices, versions
from shared.pricing.catalog import Catalog
from shared.pricing.genai_prices import Library
from shared.pricing.table import Table
from shared.pricing.update import candidate, differences, genai_release, sources
from shared.pricing.update.differences import Difference
from shared.pricing.update.guards import Objection
from shared.pricing.versions import Checked, PriceVersion

CA_FILE = "METRION_PRICES_CA_FILE"
HISTORY = ("version", "accepted", "by", "release", "models", "source", "note")
CHANGES = ("model", "price of", "from", "old", "new")
_SHOWN = 200  # changes in a table; --json has all
_OBJECTIONS = 10


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Prices that could be accepted."""

    catalog: Catalog
    source: str
    in_use: PriceVersion | None
    number: int  # of the version that it would be
    differences: Sequence[Difference]
    objections: Sequence[Objection] = ()
    skipped: dict[str, str] = {}
    old: PriceVersion | None = None  # the version to go back to


async def propose(source: str, *, sha256: str) -> Proposal:
    """Compare a release with the prices in use; Refused if it cannot be used."""
    try:
        fetched = await sources.fetch(source, sha256=sha256, ca_file=servers.optional(CA_FILE, os.environ))
        release = await asyncio.to_thread(genai_release.read, fetched.data)
        known = await _known()
        in_use = versions.current(known)
        found = await asyncio.to_thread(candidate.propose, release, in_use.catalog() if in_use else None)
    except (sources.SourceError, genai_release.UnreadableRelease) as error:
        raise Refused(str(error)) from None
    return Proposal(
        catalog=found.catalog,
        source=fetched.origin,
        in_use=in_use,
        number=max(known, default=0) + 1,
        differences=found.differences,
        objections=found.objections,
        skipped=found.skipped,
    )


async def propose_rollback(number: int) -> Proposal:
    """Compare an earlier version with the prices in use; 0: the one before."""
    known = await _known()
    in_use = versions.current(known)
    readable = [version for version in known.values() if isinstance(version, PriceVersion)]
    if number:
        old = next((version for version in readable if version.number == number), None)
    else:
        old = next((version for version in readable if in_use and version.sha256 != in_use.sha256), None)
    if old is None or in_use is None:
        what = known.get(number) or (f"no price version {number}" if number else "there is no earlier version")
        raise Refused(
            f"{what}; see metrion prices history. The prices of this release: metrion prices update --from bundled"
        )
    found = await asyncio.to_thread(_compare, in_use.catalog(), old.catalog())
    return Proposal(
        catalog=old.catalog(), source=old.source, in_use=in_use, number=max(known) + 1, differences=found, old=old
    )


def refusal(proposal: Proposal, *, accept: bool) -> str:
    """Why the prices cannot be accepted; "" if they can."""
    final = [objection for objection in proposal.objections if not objection.can_be_overruled]
    standing = final if accept else proposal.objections
    if not standing:
        return ""
    listed = [f"  {objection.text}" for objection in standing[:_OBJECTIONS]]
    if len(standing) > _OBJECTIONS:
        listed.append(f"  … and {len(standing) - _OBJECTIONS} more")
    advice = "Costs computed by hand would change." if final else "Use --accept to accept them anyway."
    return "\n".join(["Not accepted:", *listed, advice])


async def accept(proposal: Proposal, *, note: str) -> tuple[PriceVersion, str]:
    """Store the prices as a new version; returns it and a message."""
    by = confirm.operator()
    if proposal.old is not None:
        version = versions.restored(proposal.old, number=proposal.number, by=by, note=note)
    else:
        version = versions.create(proposal.catalog, number=proposal.number, by=by, source=proposal.source, note=note)
    details = {
        "version": version.name,
        "source": proposal.source,
        "changes": str(len(proposal.differences)),
        "rolled back to": str(version.rolled_back_to or ""),
        "overruled": "; ".join(objection.text for objection in proposal.objections)[:1000],
    }
    async with nats_connection.jetstream() as js:
        try:
            await versions.publish(js, version)
        except versions.Conflict:
            raise Refused("someone else has changed the prices in the meantime; run the command again") from None
        except ValueError as error:
            raise Refused(str(error)) from None
        await versions.note_checked(js, _checked(proposal, versions.ACCEPTED))
        action = "rollback" if proposal.old else "update"
        warning = await audit_log.record(js, "prices", action, version.name, details=details)
    return version, f"Accepted as price version {version.name}; all loggers switch to it now.{warning}"


async def confirm_fresh(proposal: Proposal) -> str:
    """Record that the prices in use are up to date; returns a message."""
    if proposal.old is None:
        async with nats_connection.jetstream() as js:
            await versions.note_checked(js, _checked(proposal, versions.UNCHANGED))
    return "The prices in use are the same: nothing to change."


async def history(*, as_json: bool) -> Outcome:
    """List the versions, newest first."""
    known = await _known()
    in_use = versions.current(known)
    if as_json:
        rows = [_version_json(number, version, in_use) for number, version in known.items()]
        return Outcome(output.as_json({"in_use": in_use.name if in_use else None, "versions": rows}))
    if not known:
        return Outcome(note=f"No prices have been accepted: those of genai-prices {genai_prices.VERSION} are in use.")
    cells = [_version_row(number, version, in_use) for number, version in known.items()]
    damaged = [version for version in known.values() if isinstance(version, str)]
    return Outcome(output.as_table(HISTORY, cells), note="\n".join(damaged))


def shown(proposal: Proposal) -> str:
    """The changes as a table for people."""
    rows = [_row(change) for change in proposal.differences[:_SHOWN]]
    current = proposal.in_use.name if proposal.in_use else f"built-in, genai-prices {genai_prices.VERSION}"
    title = f"{output.plural(len(proposal.differences), 'change')} from the prices in use ({current})"
    text = output.as_table(CHANGES, rows, title=title) if rows else ""
    if len(proposal.differences) > _SHOWN:
        text += f"… and {len(proposal.differences) - _SHOWN:,} more; --json lists all\n"
    if proposal.skipped:
        listed = "\n".join(f"  {name}: {reason}" for name, reason in list(proposal.skipped.items())[:_OBJECTIONS])
        text += f"{output.plural(len(proposal.skipped), 'model')} left out, not understood:\n{listed}\n"
    if overridden := _overridden(proposal):
        text += f"Stays as it is, set by corrections of this release or your file: {', '.join(overridden)}\n"
    return text


def as_json(proposal: Proposal, *, accepted: PriceVersion | None = None) -> str:
    """All of a proposal."""
    return output.as_json(
        {
            "source": proposal.source,
            "release": proposal.catalog.release,
            "in_use": proposal.in_use.name if proposal.in_use else None,
            "accepted": accepted.name if accepted else None,
            "differences": [msgspec.structs.asdict(change) for change in proposal.differences],
            "objections": [msgspec.structs.asdict(objection) for objection in proposal.objections],
            "skipped": proposal.skipped,
        }
    )


async def _known() -> dict[int, PriceVersion | str]:
    async with nats_connection.jetstream() as js:
        return await versions.read(js)


def _compare(in_use: Catalog, old: Catalog) -> list[Difference]:
    return differences.compare(Library(in_use, alone=True), Library(old, alone=True))


def _checked(proposal: Proposal, outcome: str) -> Checked:
    now = datetime.now(UTC)
    return Checked(at=now, source=proposal.source, outcome=outcome, fresh_at=now)


def _overridden(proposal: Proposal) -> list[str]:
    """The models whose changes have no effect, because a price file states these prices."""
    table = Table.default()
    today = datetime.now(UTC).date()
    names = []
    for change in proposal.differences:
        rows = table.rows(change.provider, change.model, change.since or today)
        if any(row.unit == change.unit and row.covers(change.tier) for row in rows):
            names.append(change.model)
    return list(dict.fromkeys(names))


def _row(change: Difference) -> tuple[str, ...]:
    above = f" above {change.above:,}" if change.above else ""
    old, new = (
        "" if price is None else f"${decimals.exact(price)}" for price in (change.old, change.new)
    )  # not rounded
    since = f"{change.since:%Y-%m-%d}" if change.since else ""
    return (
        f"{change.provider} {change.model}",
        f"{change.tier} {change.unit}{above}".strip() if change.unit else change.change,
        since,
        old,
        new,
    )


def _version_row(number: int, version: PriceVersion | str, in_use: PriceVersion | None) -> tuple[Any, ...]:
    if isinstance(version, str):
        return (str(number), "", "", "", "", "", "damaged")
    note = f"content of {version.rolled_back_to}. {version.note}" if version.rolled_back_to else version.note
    mark = " *" if version == in_use else ""
    return (f"{version.name}{mark}", version.at, version.by, version.release, version.models, version.source, note)


def _version_json(number: int, version: PriceVersion | str, in_use: PriceVersion | None) -> dict[str, Any]:
    if isinstance(version, str):
        return {"number": number, "damaged": version}
    fields = {name: getattr(version, name) for name in version.__struct_fields__ if name != "content"}
    return {"version": version.name, "in_use": version == in_use, **fields}
