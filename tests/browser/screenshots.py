"""Takes the screenshots in docs/screens: every page, light and dark.

They look best where the font Inter is installed (Debian's fonts-inter); any system's own will do.
"""

import contextlib
import io
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageChops
from playwright.sync_api import Browser, Page

from tests.support import chromium, servers

SCREENS = servers.ROOT / "docs" / "screens"
ROWS = 60_000
WIDE, NARROW = 1280, 480
LEAST, MOST = 860, 1560  # pixels of height
HEAVIEST, HEAVIEST_ALL = 200_000, 4_000_000  # bytes
TRIES, PAUSE = (
    60,
    2_000,
)  # ms; ClickHouse is busy for a while after so many rows, and names wait for a pass of the rollup
_DASHBOARD = re.compile(r"dashboard\s+(http://\S+)")


class Shot(NamedTuple):
    """A picture: its name, the page's address, and what is done there first."""

    name: str
    address: str
    first: Callable[[Page], Any] = lambda page: None
    width: int = WIDE


def _point(page: Page) -> None:
    box = page.locator("#cost .box").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.57, box["y"] + box["height"] * 0.4)


def _panel(page: Page) -> None:
    page.locator("#log tbody tr:not(.hit)", has=page.locator(".code.s2")).nth(3).locator("td.md").click()
    page.locator("#drawer article").wait_for()


SHOTS = (
    Shot("overview", "/?period=30d", _point),
    Shot("cost", "/cost?period=30d"),
    Shot("latency", "/latency?period=7d"),
    Shot("errors", "/errors?period=7d"),
    Shot("requesters", "/requesters?period=7d"),
    Shot("logs", "/logs"),
    Shot("logs-panel", "/logs?period=7d", _panel),
    Shot("keys", "/keys"),
    Shot("limits", "/limits?period=7d"),
    Shot("alerts", "/alerts"),
    Shot("cache", "/cache"),
    Shot("integrate", "/integrate?provider=anthropic"),
    Shot("health", "/health"),
    Shot("audit", "/audit"),
    Shot("settings", "/settings"),
    Shot("overview-phone", "/?period=7d", width=NARROW),
    Shot("logs-phone", "/logs", width=NARROW),
)


def main() -> None:
    """Exit code 1 when a picture cannot be taken or weighs too much."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    total = 0
    with tempfile.TemporaryDirectory() as folder, _demo(Path(folder)) as url, chromium.browser() as browser:
        for theme in ("light", "dark"):
            for shot in SHOTS:
                picture = _small(_taken(browser, url, shot, theme))
                (SCREENS / f"{shot.name}-{theme}.png").write_bytes(picture)
                print(f"{shot.name}-{theme}.png {len(picture) / 1000:.0f} KB", flush=True)
                total += len(picture)
                if len(picture) > HEAVIEST:
                    sys.exit(f"{shot.name}-{theme}.png weighs more than {HEAVIEST // 1000} KB")
    if total > HEAVIEST_ALL:
        sys.exit(f"all pictures weigh {total / 1e6:.1f} MB")


@contextlib.contextmanager
def _demo(folder: Path) -> Iterator[str]:
    """The address of the dashboard of a demo with a month behind it; over at the end."""
    arguments = ("--history", "30d", "--rows", str(ROWS), "--seconds", "20", "--keep", "--data-dir", str(folder))
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "deploy.demo", *arguments],
        cwd=servers.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout
        url = ""
        for line in demo.stdout:
            print(line, end="", flush=True)
            if found := _DASHBOARD.search(line):
                url = found[1]
            if "Press Ctrl-C to stop" in line:
                break
        if not url or demo.poll() is not None:
            sys.exit("the demo did not come up")
        yield url
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(120)


def _taken(browser: Browser, url: str, shot: Shot, theme: Any) -> bytes:
    """A picture of a page on which nothing failed."""
    context = browser.new_context(
        base_url=url, color_scheme=theme, viewport={"width": shot.width, "height": LEAST}, reduced_motion="reduce"
    )
    try:
        context.set_default_timeout(120_000)
        page = context.new_page()
        for _ in range(TRIES):
            page.goto(shot.address)
            bar_lacks = page.locator("#models").count() and not page.locator("#models option").count()
            if not page.locator(".failure, .notice.wrong").count() and not bar_lacks:
                break
            page.wait_for_timeout(PAUSE)
        else:
            sys.exit(f"{shot.address} is not whole: {page.locator('main').inner_text()[:500]}")
        height = int(page.evaluate("() => document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": shot.width, "height": max(LEAST, min(MOST, height))})
        shot.first(page)
        page.wait_for_timeout(200)
        return page.screenshot()
    finally:
        context.close()


def _small(picture: bytes) -> bytes:
    """The same in 256 colours: a third of the bytes.

    Those of areas, however small, come first, then those of the edges of letters; others are the nearest of these.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    edges = (
        ImageChops.difference(image, ImageChops.offset(image, 2, 2)).convert("L").point(lambda value: 255 * (value > 0))
    )
    areas = Image.composite(Image.new("RGB", image.size, _frequent(image)[0]), image, edges)
    colours = list(dict.fromkeys((*_frequent(areas)[:192], *_frequent(image))))[:256]
    frame = Image.new("P", (1, 1))
    frame.putpalette([part for colour in colours for part in colour])
    out = io.BytesIO()
    image.quantize(palette=frame, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _frequent(image: Image.Image) -> list[Any]:
    """Its colours, the most frequent first."""
    return [colour for _, colour in sorted(image.getcolors(image.width * image.height) or [], reverse=True)]


if __name__ == "__main__":
    main()
