"""Turns a genai-prices release into a catalog: its wheel, or its JSON file."""

import base64
import csv
import hashlib
import io
import re
import stat
import zipfile
import zlib
from decimal import Decimal
from importlib import resources
from typing import Any

import msgspec

from shared.pricing import catalog, genai_prices
from shared.pricing.catalog import Catalog
from shared.pricing.update import python_data
from shared.providers import BUILT_IN

MOST_BYTES = 16 << 20  # of a wheel or data file
_MOST_DATA = 8 << 20  # of the data module, uncompressed: five times its size of 2026
_MOST_TEXT = 1 << 20  # of METADATA and RECORD
_MOST_ENTRIES = 1000
_INSTALLED = b"# installed genai-prices\n"
_DATA = "genai_prices/data.py"
_METADATA = re.compile(r"genai_prices-[^/]+\.dist-info/METADATA")
_NAME = re.compile(r"^Name:\s*genai[-_.]prices\s*$", re.MULTILINE | re.IGNORECASE)
_VERSION = re.compile(r"^Version:\s*([0-9A-Za-z.+!_-]{1,64})\s*$", re.MULTILINE)

# Fields of a model that do not affect its price.
_INFORMATION = frozenset({"name", "description", "context_window", "price_comments", "deprecated"})


class UnreadableRelease(ValueError):
    """The release cannot be used; the message says why."""


class Release(msgspec.Struct, frozen=True):
    """The prices of a release, and what could not be used of it."""

    catalog: Catalog
    skipped: dict[str, str]  # "openai/gpt-9" → why its prices are not understood


class _Provider(msgspec.Struct, frozen=True):
    id: str
    models: list[Any] = []


def read(data: bytes) -> Release:
    """Read a wheel or JSON file of genai-prices; UnreadableRelease if it is neither."""
    try:
        if data[:4] == b"PK\x03\x04":
            release, source = _wheel(data)
            return _release(release, python_data.read(source))
        if data.startswith(_INSTALLED):
            return _release(genai_prices.VERSION, python_data.read(data.decode()))
        return _release("", msgspec.json.Decoder(float_hook=Decimal).decode(data))
    except (ValueError, RecursionError, msgspec.MsgspecError, ArithmeticError) as error:
        raise UnreadableRelease(f"not a usable release of genai-prices: {error}") from None


def installed() -> bytes:
    """The data module of the installed package, for `read`."""
    return _INSTALLED + resources.files("genai_prices").joinpath("data.py").read_bytes()


def _release(release: str, raw: Any) -> Release:
    wanted = {provider.price_list for provider in BUILT_IN.values() if provider.price_list}
    models: dict[str, tuple[catalog.Model, ...]] = {}
    skipped: dict[str, str] = {}
    for provider in msgspec.convert(raw, list[_Provider]):
        if provider.id not in wanted:
            continue
        if provider.id in models:
            raise ValueError(f"two price lists are named {provider.id}")
        found: dict[str, catalog.Model] = {}
        for number, record in enumerate(provider.models, 1):
            name = _name(record) or f"no. {number}"
            try:
                model = catalog.model(_priced(record))
            except (ValueError, msgspec.MsgspecError) as error:
                skipped[f"{provider.id}/{name}"] = str(error)
                continue
            if model.id in found:
                raise ValueError(f"{provider.id}/{model.id} is listed twice")
            found[model.id] = model
        models[provider.id] = tuple(found.values())
    if missing := wanted - models.keys():
        raise ValueError(f"it has no prices of {', '.join(sorted(missing))}")
    return Release(Catalog(release, models), skipped)


def _name(record: Any) -> str:
    return str(record.get("id", ""))[:256] if isinstance(record, dict) else ""


def _priced(record: Any) -> Any:
    """A model's record without what does not affect prices."""
    if not isinstance(record, dict):
        raise ValueError("not a record")
    return {name: value for name, value in record.items() if name not in _INFORMATION}


def _wheel(data: bytes) -> tuple[str, str]:
    """Version and data module of a wheel, checked against the hash in its RECORD."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = _checked_names(archive)
            metadata_name = next((name for name in names if _METADATA.fullmatch(name)), "")
            if _DATA not in names or not metadata_name:
                raise ValueError(f"the wheel has no {_DATA if metadata_name else 'METADATA'}")
            metadata = _read(archive, metadata_name, most=_MOST_TEXT).decode()
            record = _read(archive, metadata_name.replace("METADATA", "RECORD"), most=_MOST_TEXT).decode()
            source = _read(archive, _DATA, most=_MOST_DATA)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"a damaged wheel: {error}") from None
    version = _VERSION.search(metadata)
    if not _NAME.search(metadata) or version is None:
        raise ValueError("the wheel is not one of genai-prices")
    _check_record(record, source)
    return version.group(1), source.decode()


def _checked_names(archive: zipfile.ZipFile) -> list[str]:
    """The names of the archive's files; refuses an archive that is not an ordinary wheel."""
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"the wheel has more than {_MOST_ENTRIES:,} files")
    names = [entry.filename for entry in entries]
    for entry in entries:
        parts = entry.filename.split("/")
        if entry.filename.startswith("/") or ".." in parts or "\\" in entry.filename or ":" in parts[0]:
            raise ValueError("the wheel has a file name that leads outside of it")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ValueError("the wheel has a symbolic link")
    if len(set(names)) != len(names):
        raise ValueError("the wheel has two files of the same name")
    return names


def _read(archive: zipfile.ZipFile, name: str, *, most: int) -> bytes:
    """One file of the archive, never more than `most` bytes whatever the archive states."""
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in an unusual way")
    with archive.open(entry) as file:
        content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"{name} is larger than {most >> 20} MB")
        return content


def _check_record(record: str, source: bytes) -> None:
    try:
        stated = {row[0]: row[1] for row in csv.reader(io.StringIO(record)) if len(row) >= 2}
    except csv.Error as error:
        raise ValueError(f"the wheel's RECORD cannot be read: {error}") from None
    digest = base64.urlsafe_b64encode(hashlib.sha256(source).digest()).rstrip(b"=").decode()
    if stated.get(_DATA) != f"sha256={digest}":
        raise ValueError(f"{_DATA} does not match the wheel's RECORD")
