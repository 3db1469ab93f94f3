"""The gateway as a process that writes what its garbage collector has done to a file, whenever it gets SIGUSR2."""

import gc
import json
import os
import runpy
import signal
import sys
from pathlib import Path

VARIABLE = "BENCH_GC_FILE"


def _write(*_: object) -> None:
    path = Path(os.environ[VARIABLE])
    whole = path.with_suffix(".new")
    whole.write_text(json.dumps(gc.get_stats()))
    whole.replace(path)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, _write)
    sys.argv = ["services.gateway"]
    runpy.run_module("services.gateway", run_name="__main__")
