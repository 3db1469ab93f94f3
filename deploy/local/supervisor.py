"""Supervisor: starts, restarts and stops processes, and prefixes their output."""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from typing import TextIO

import aiohttp

from deploy.local import children
from deploy.local.plan import Part
from shared.process import cancel_and_wait

_SHORTEST, _LONGEST = 0.3, 5.0  # seconds between exit and restart
_AT_ONCE = 5.0  # a process that exits sooner failed to start
_GIVE_UP = 3  # consecutive failed starts that abort the whole start, before everything was ready once
_COLOURS = (36, 33, 35, 32, 34, 31)


class StartFailed(Exception):
    """A process cannot be started; the message names it and its last output."""


class Console:
    """Shared output: one line at a time, each with the name of its process."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._colour = file.isatty()
        self._names: dict[str, int] = {}

    def line(self, name: str, text: str) -> None:
        """Write a line of a process. A closed output is no reason to stop."""
        label = f"{name:<10} |"
        if self._colour:
            colour = self._names.setdefault(name, _COLOURS[len(self._names) % len(_COLOURS)])
            label = f"\x1b[{colour}m{label}\x1b[0m"
        self.log(f"{label} {text}")

    def log(self, text: str) -> None:
        """Write a message of the supervisor itself."""
        with contextlib.suppress(OSError):
            self._file.write(text + "\n")
            self._file.flush()


class Child:
    """A part and its current process."""

    def __init__(self, part: Part, console: Console) -> None:
        self.part = part
        self.failed_starts = 0  # in a row
        self.last_lines: deque[str] = deque(maxlen=5)
        self._console = console
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def keep(self) -> None:
        """Start it and restart it whenever it exits, until `stop`."""
        while True:
            started = time.monotonic()
            code = await self.run()
            if self._stopping:
                return
            self.failed_starts = self.failed_starts + 1 if time.monotonic() - started < _AT_ONCE else 0
            pause = min(_LONGEST, _SHORTEST * 2 ** max(0, self.failed_starts - 1))
            often = f" {self.failed_starts} times in a row" if self.failed_starts > 1 else ""
            self._console.line(self.part.name, f"exited ({_reason(code)}{often}); restarting in {pause:.1f} s")
            await asyncio.sleep(pause)

    async def run(self) -> int:
        """Start it and return its exit code."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self.part.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.part.environment,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the parts in order
            preexec_fn=children.kill_with_parent(os.getpid()),
        )
        if self._stopping:
            process.terminate()
        assert process.stdout
        await self._print(process.stdout)
        return await process.wait()

    async def _print(self, output: asyncio.StreamReader) -> None:
        rest = b""
        while data := await output.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > 1 << 16:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._log(line)
        if rest:
            self._log(rest)

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self.last_lines.append(text)
            if not any(part in text for part in self.part.hidden):
                self._console.line(self.part.name, text)

    async def stop(self) -> None:
        """Send SIGTERM, then SIGKILL with a message once the part's time is over."""
        self._stopping = True
        if not self._send(signal.SIGTERM):
            return
        assert self._process
        try:
            await asyncio.wait_for(self._process.wait(), self.part.stop_seconds)
        except TimeoutError:
            self._console.log(f"{self.part.name} did not stop within {self.part.stop_seconds:.0f} s: killed")
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self._stopping = True
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> bool:
        if self._process is None or self._process.returncode is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return True


class Supervisor:
    """All parts, started in groups and stopped in reverse order."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._groups: list[list[Child]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, parts: Sequence[Part]) -> None:
        """Start a group of parts; it is stopped before the groups started earlier."""
        group = [Child(part, self._console) for part in parts]
        self._groups.append(group)
        self._tasks += [asyncio.create_task(child.keep(), name=child.part.name) for child in group]

    async def run(self, part: Part) -> None:
        """Run a part to completion; StartFailed if it fails."""
        child = Child(part, self._console)
        self._groups.append([child])
        code = await child.run()
        self._groups.remove([child])
        if code:
            raise StartFailed(f"{part.name} failed ({_reason(code)}):\n  " + "\n  ".join(child.last_lines))

    async def ready(self) -> None:
        """Wait until all parts are ready; StartFailed if one fails repeatedly."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            said = time.monotonic()
            while waiting := [text for child in self._children() if (text := await _missing(session, child.part))]:
                for child in self._children():
                    if child.failed_starts >= _GIVE_UP:
                        raise StartFailed(f"{child.part.name} cannot start:\n  " + "\n  ".join(child.last_lines))
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    self._console.log("still waiting for " + "; ".join(waiting))
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop all parts, the group started last first."""
        for group in reversed(self._groups):
            await asyncio.gather(*(child.stop() for child in group))
        await asyncio.gather(*map(cancel_and_wait, self._tasks))

    def kill(self) -> None:
        """Stop all parts simultaneously."""
        for child in self._children():
            child.kill()

    def _children(self) -> list[Child]:
        return [child for group in self._groups for child in group]


async def _missing(session: aiohttp.ClientSession, part: Part) -> str:
    """Why a part is not ready, "" if it is."""
    if not part.ready_url:
        return "" if children.answers(part.port) else f"{part.name} on port {part.port}"
    try:
        async with session.get(part.ready_url) as response:
            if response.status == 200:
                return ""
            return f"{part.name}: {(await response.text()).strip()[:200]}"
    except (aiohttp.ClientError, TimeoutError):
        return f"{part.name}: no response from {part.ready_url}"


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
