"""CPU profile of a process under load, by py-spy."""

import asyncio
import shutil
import sys
from collections import Counter
from pathlib import Path

from tests.bench.load import Load
from tests.bench.peers import Peer

SECONDS = 5
_SHOWN = 50


async def record(peer: Peer, load: Load, path: Path) -> None:
    """Sample `peer` while `load` runs, write its stacks to `path`.txt, print where its time goes."""
    sampler = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if sampler is None:
        sys.exit("--profile needs py-spy: pip install py-spy")
    path.parent.mkdir(parents=True, exist_ok=True)
    output = path.with_suffix(".txt")
    command = [sampler, "record", "-p", str(peer.pid), "-d", str(SECONDS), "-r", "250", "-f", "raw", "-o", str(output)]
    over = asyncio.Event()
    working = asyncio.create_task(_until(over, load))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    over.set()
    await working
    if process.returncode:
        sys.exit(errors.decode(errors="replace"))
    print(f"\n{path.name}\n{hottest(output.read_text())}")


async def _until(over: asyncio.Event, load: Load) -> None:
    while not over.is_set():
        await load.run(640, 32)


def hottest(stacks: str) -> str:
    """Of py-spy's collapsed stacks: shares of the samples, of Python functions with what they call, and
    of any functions alone.
    """
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        total += int(count)
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            if frame.endswith(".py"):
                within[frame] += int(count)
    rows = ["with what they call"]
    rows += [f"{count / total:8.1%}  {frame})" for frame, count in within.most_common(_SHOWN) if count < 0.9 * total]
    rows += ["alone"]
    rows += [f"{count / total:8.1%}  {frame}" for frame, count in alone.most_common(_SHOWN // 2)]
    return "\n".join(rows)
