"""Where a proxy's CPU goes: a process under load in, py-spy's collapsed stacks and the costliest functions out."""

import asyncio
import contextlib
import shutil
import sys
from collections import Counter
from pathlib import Path

from tests.bench.load import Load
from tests.bench.peers import Peer

SECONDS = 5
_SHOWN = 30


async def record(peer: Peer, load: Load, path: Path) -> None:
    """Sample `peer` while `load` runs, write its stacks to `path`.txt, print where its time goes."""
    sampler = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if sampler is None:
        sys.exit("--profile needs py-spy: pip install py-spy")
    path.parent.mkdir(parents=True, exist_ok=True)
    output = path.with_suffix(".txt")
    command = [sampler, "record", "-p", str(peer.pid), "-d", str(SECONDS), "-r", "500", "-f", "raw", "-o", str(output)]
    working = asyncio.create_task(_forever(load))
    process = await asyncio.create_subprocess_exec(
        *command, "--native", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    if process.returncode:
        sys.exit(errors.decode(errors="replace"))
    print(f"\n{path.name}\n{hottest(output.read_text())}")


async def _forever(load: Load) -> None:
    while True:
        await load.run(320, 32)


def hottest(stacks: str) -> str:
    """Of py-spy's collapsed stacks: each function's share of the samples, alone and with what it calls."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        total += int(count)
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    rows = [f"{'alone':>8}{'within':>8}"]
    rows += [
        f"{alone[frame] / total:8.1%}{count / total:8.1%}  {frame}"
        for frame, count in within.most_common(_SHOWN * 2)
        if count < 0.98 * total
    ][:_SHOWN]
    return "\n".join(rows)
