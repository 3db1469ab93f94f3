"""The embedded ClickHouse engine with the users of compose.

`python -m tests.image.engine DATADIR HTTP_PORT USERS_XML ADDRESS`. The engine itself needs two users that a
server does not have, `default` and `stopper`; they stay, and come from the loopback only.
"""

import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from deploy.local import clickhouse
from deploy.local.clickhouse_users import users_xml
from deploy.users.clickhouse import hash_variable
from shared.sql_users import SqlUser

_OWN = '<default remove="remove"/>'


def serve(data: Path, port: int, *, users: Path, address: str) -> int:
    """Serve until SIGTERM; ValueError for users among whom somebody needs no password."""
    text = users.read_text()
    if _OWN not in text:
        raise ValueError(f"{users} leaves the user default, who has no password")
    folder = data / "conf" / "users.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrion.xml").write_text(text.replace(_OWN, ""))

    def own(hashes: dict[str, str], _accounts: Iterable[SqlUser]) -> str:
        lines = users_xml(hashes).splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(("<logger>", "<reader>", "<admin>")))

    return clickhouse.main(data, port, address=address, users=own)


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    known = os.environ[hash_variable("admin")]  # the same at each start of the same installation
    os.environ.setdefault(clickhouse.STORE_KEY, hashlib.sha256(known.encode()).hexdigest())
    sys.exit(serve(Path(sys.argv[1]).resolve(), int(sys.argv[2]), users=Path(sys.argv[3]), address=sys.argv[4]))
