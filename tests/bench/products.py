"""Other proxies and LLM gateways: how to install and start each, and what each records.

All go into `.bench/`, each into an environment of its own, from PyPI or Debian.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support import paths

FOLDER = paths.ROOT / ".bench"
_KEY = "upstream-key"


class Ports(NamedTuple):
    """Ports of one run: the product's own, the provider's, and one for the product's metrics."""

    own: int
    provider: int
    metrics: int


class Product(NamedTuple):
    """One product. `records`: what it stores about a request as it is started here; `command`: that which starts it."""

    name: str
    records: str
    install: Callable[[Path], None]
    command: Callable[[Path, Ports], list[str]]


def install(product: Product) -> str:
    """Install a product unless it is there already: "", or why that failed."""
    folder = FOLDER / product.name
    if (folder / "installed").exists():
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        product.install(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"cannot be installed: {error}"
    (folder / "installed").touch()
    return ""


def _pip(*requirements: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder / "venv")])
        _run([str(folder / "venv/bin/python"), "-m", "pip", "install", "--disable-pip-version-check", *requirements])

    return run


def _debian(*packages: str) -> Callable[[Path], None]:
    """Unpack Debian packages: nothing is installed in the system, and no service started."""

    def run(folder: Path) -> None:
        _run(["apt-get", "download", *packages], cwd=folder)
        for archive in folder.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(archive), str(folder)])

    return run


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def _nginx(folder: Path, ports: Ports) -> list[str]:
    (folder / "run").mkdir(exist_ok=True)
    temporary = "".join(
        f"{part}_temp_path run/{part}; " for part in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid run/pid; error_log stderr; events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; {temporary} upstream provider {{ server 127.0.0.1:{ports.provider}; keepalive 64; }}\n"
        f"server {{ listen 127.0.0.1:{ports.own}; location / {{ proxy_pass http://provider; proxy_http_version 1.1;\n"
        f'proxy_set_header Connection ""; proxy_set_header Authorization "Bearer {_KEY}"; proxy_buffering off; }} }} }}\n'
    )
    return [str(folder / "usr/sbin/nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"]


def _smg(folder: Path, ports: Ports) -> list[str]:
    return [
        *(str(folder / "venv/bin/smg"), "launch", "--worker-urls", f"http://127.0.0.1:{ports.provider}"),
        *("--host", "127.0.0.1", "--port", str(ports.own), "--prometheus-port", str(ports.metrics)),
        *("--policy", "round_robin", "--log-level", "error"),
        *("--worker-startup-check-interval", "1", "--health-success-threshold", "1"),
    ]


PRODUCTS = (
    Product("nginx", "nothing (access log off)", _debian("nginx", "nginx-common"), _nginx),
    Product("smg", "counters in memory", _pip("smg==1.13.0"), _smg),
)
