"""Wheels of genai-prices for tests: the installed release with changes, as the library builds them."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from importlib import resources

NEW = """ModelInfo(
    id='gpt-99',
    match=ClauseOr(or_=[ClauseEquals(equals='gpt-99'), ClauseStartsWith(starts_with='gpt-99-20')]),
    prices=ModelPrice(input_mtok=Decimal('3'), output_mtok=Decimal('12')),
),"""
INFO = "genai_prices-9.9.0.dist-info"


def data_module() -> str:
    """The data module of the installed release."""
    return resources.files("genai_prices").joinpath("data.py").read_text()


def with_model(source: str, record: str = NEW, *, provider: str = "openai") -> str:
    """The data module with another model of a provider."""
    start = source.index(f"        id='{provider}',\n")
    models = source.index("models=[", start) + len("models=[")
    return source[:models] + record + source[models:]


def wheel(
    source: str, *, version: str = "9.9.0", name: str = "genai-prices", more: Mapping[str, bytes] | None = None,
    record: str | None = None,
) -> bytes:  # fmt: skip
    """A wheel with this data module; `more` are further files, `record` replaces the RECORD's hash."""
    data = source.encode()
    digest = record or base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    files = {
        "genai_prices/__init__.py": b"raise RuntimeError('code of the wheel was executed')\n",
        "genai_prices/data.py": data,
        f"{INFO}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n".encode(),
        f"{INFO}/RECORD": f"genai_prices/data.py,sha256={digest},{len(data)}\n".encode(),
        **(more or {}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()
