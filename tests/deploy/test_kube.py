"""The one command for a laptop's cluster, with stand-ins for the tools that it calls."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import servers

SCRIPT = servers.ROOT / "deploy" / "kube.sh"
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
"config current-context") echo "$CONTEXT" ;;
"get "*) exit "$MISSING" ;;
"create --namespace "*) cat > "$SECRET" ;;
esac
"""


def calls(folder: Path, *, context: str, missing: bool) -> list[str]:
    """What the script runs in such a cluster, in order."""
    tools = folder / "bin"
    tools.mkdir()
    for tool in ("kubectl", "helm", "kind", "k3d", "minikube"):
        (tools / tool).write_text(STAND_IN)
        (tools / tool).chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "SECRET": str(folder / "secret.json"),
        "CONTEXT": context,
        "MISSING": str(int(missing)),
        "IMAGE": "metrion:1.2.3",
        "ARGS": "--set gateway.replicas=3",
    }
    subprocess.run(["sh", str(SCRIPT)], env=environment, check=True, capture_output=True, timeout=servers.DEADLINE)
    return (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("context", "load"),
    [
        ("kind-try", "kind load docker-image metrion:1.2.3 --name try"),
        ("k3d-try", "k3d image import metrion:1.2.3 --cluster try"),
        ("minikube", "minikube image load metrion:1.2.3"),
    ],
)
def test_one_command_loads_the_image_and_installs_everything(tmp_path: Path, context: str, load: str) -> None:
    made = calls(tmp_path, context=context, missing=True)
    assert load in made
    assert "kubectl create namespace metrion" in made
    (helm,) = [call for call in made if call.startswith("helm ")]
    assert made[-1] == helm, "the secret is there before the pods ask for it"
    assert "values-examples/dev.yaml" in helm
    assert "--set image.repository=metrion --set image.tag=1.2.3 --wait" in helm
    assert helm.endswith("--set gateway.replicas=3")
    assert '"nats-password-gateway"' in (tmp_path / "secret.json").read_text()


def test_a_second_run_keeps_the_passwords_that_the_servers_know(tmp_path: Path) -> None:
    made = calls(tmp_path, context="kind-try", missing=False)
    assert not [call for call in made if call.startswith("kubectl create")]
    assert not (tmp_path / "secret.json").exists()
