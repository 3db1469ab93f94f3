"""The system's Chromium, headless, driven by Playwright."""

import contextlib
import shutil
import sys
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

from tests.support import servers

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-proxy-server",  # whatever the environment says: all is on the loopback
    "--font-render-hinting=none",
)


class NoChromium(Exception):
    """There is no Chromium on this machine; the message says what to do."""


def found() -> str:
    """Where it is; NoChromium."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise NoChromium("no Chromium on the PATH, so the dashboard cannot be tested: apt-get install chromium")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium, closed at the end. While it is open nothing else can run an event loop in this thread."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=found(), args=list(FLAGS), headless=True, timeout=servers.DEADLINE * 1000
        )
        try:
            yield opened
        finally:
            opened.close()


if __name__ == "__main__":  # before anything is started for it
    try:
        found()
    except NoChromium as error:
        sys.exit(str(error))
