"""Creates `.env` from `.env.example` with fresh secrets; keeps existing values.

Needs only Python.
"""

import base64
import hashlib
import os
import secrets
import string
import sys
from pathlib import Path

_LETTERS = string.ascii_letters + string.digits


def filled(example: str, known: dict[str, str]) -> str:
    """The example with every secret filled in, known or fresh, and matching hashes."""
    lines, values = [], dict(known)
    for line in example.splitlines():
        name, is_setting, value = line.partition("=")
        if not is_setting or name.startswith("#"):
            lines.append(line)
            continue
        derived = name.endswith("_SHA256")  # of a password that may have changed
        values[name] = "" if derived else values.get(name) or value
        values[name] = values[name] or _fresh(name, values)
        lines.append(f"{name}={values[name]}")
    more = [f"{name}={value}" for name, value in known.items() if f"\n{name}=" not in f"\n{example}"]
    return "\n".join([*lines, *more]) + "\n"


def read(text: str) -> dict[str, str]:
    """Parse NAME=value lines, ignoring comments and empty lines."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _fresh(name: str, values: dict[str, str]) -> str:
    if name.endswith("_SHA256"):
        return hashlib.sha256(values[name.removesuffix("SHA256") + "PASSWORD"].encode()).hexdigest()
    if name.endswith("_PASSWORD"):
        return secrets.choice(string.ascii_letters) + "".join(secrets.choice(_LETTERS) for _ in range(31))
    return base64.b64encode(secrets.token_bytes(32)).decode() if name == "METRION_SECRET_KEY" else ""


def main(folder: Path) -> None:
    """Write `folder`/.env, readable by its owner only."""
    target = folder / ".env"
    known = read(target.read_text()) if target.exists() else {}
    text = filled((folder / ".env.example").read_text(), known)
    new = target.with_name(".env.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(target)
    sys.stdout.write(f"{target}: {'updated' if known else 'created'}; it contains the dashboard's admin password\n")


if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
