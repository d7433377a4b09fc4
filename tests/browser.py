"""A page in a headless Chromium: what it asked for, what it complained of, how it lies.

Chromium and its driver come from the system. Where they lack, `open_browser` skips the test and
says so.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium, closed afterwards; the test is skipped where there is none."""
    pytest.importorskip("selenium", reason="the browser tests need selenium")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("the browser tests need chromium and chromedriver (Debian: chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        chrome.set_page_load_timeout(120)
        yield Browser(chrome)
    finally:
        chrome.quit()


class Browser:
    """What the tests ask of a page."""

    def __init__(self, chrome: Any) -> None:
        self.chrome = chrome

    def open(self, path: Path, *, width: int = 1280, height: int = 900, wait: float = 90) -> None:
        """Open a page and wait until its figures are drawn."""
        self.chrome.get_log("browser")
        self.chrome.get_log("performance")
        self.resize(width, height)
        self.chrome.get(path.resolve().as_uri())
        end = time.monotonic() + wait
        while not self.run("return document.documentElement.dataset.tlxReady === 'yes'"):
            assert time.monotonic() < end, (
                f"figures were not drawn in {wait} s: {self.complaints()}"
            )
            time.sleep(0.1)

    def resize(self, width: int, height: int, *, touch: bool = False) -> None:
        """Give the window a size of its own, narrower than a real window could be."""
        self.chrome.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch},
        )
        time.sleep(0.4)  # plotly follows a resize a moment later

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script."""
        return self.chrome.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Warnings and errors on the console."""
        return [
            f"{entry['level']}: {entry['message']}"
            for entry in self.chrome.get_log("browser")
            if entry["level"] in {"WARNING", "SEVERE"}
        ]

    def requests(self) -> list[str]:
        """Every address asked for since the page was opened; data in the page is none."""
        asked = []
        for entry in self.chrome.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(str(message["params"]["request"]["url"]))
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def undrawn(self) -> list[str]:
        """The figures of plotly that have no picture of some size."""
        return list(
            self.run(
                """return [...document.querySelectorAll('.tlx-plot')].filter(function (box) {
                  var svg = box.querySelector('svg.main-svg');
                  var drawn = box.querySelector('.mlayer path, .mlayer image');
                  var size = svg && svg.getBoundingClientRect();
                  return !drawn || size.width < 100 || size.height < 100;
                }).map(function (box) { return box.id; })"""
            )
        )

    def overflow(self) -> list[str]:
        """What reaches beyond the window, outside of boxes that scroll by themselves."""
        return list(
            self.run(
                """var wide = document.documentElement.clientWidth + 1;
                var out = [];
                if (document.documentElement.scrollWidth > wide) {
                  out.push('page is ' + document.documentElement.scrollWidth + ' wide');
                }
                document.querySelectorAll('main *, header *, nav *').forEach(function (one) {
                  if (one.closest('.tlx-scroll') || one.closest('svg')) { return; }
                  var box = one.getBoundingClientRect();
                  if (box.width && box.right > wide) { out.push(one.tagName + '.' + one.className); }
                });
                return out"""
            )
        )

    def picture(self, path: Path, *, from_top: int = 0, height: int | None = None) -> Path:
        """A picture of the page, of all of it unless a part is named."""
        size = self.run(
            "return [document.documentElement.clientWidth, document.documentElement.scrollHeight]"
        )
        clip = {"x": 0, "y": from_top, "width": size[0], "height": height or size[1], "scale": 1}
        shot = self.chrome.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path.write_bytes(base64.b64decode(shot["data"]))
        return path
