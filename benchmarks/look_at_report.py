"""Look at a report in a real browser: pictures of the page, and what it complains of or asks the network for.

    python benchmarks/look_at_report.py REPORT.html --out FOLDER [--browser chromium] [--width 1280 390]

Writes FOLDER/WIDTH_light.png and _dark.png, whole pages cut into pieces of at most 3,000 px, and FOLDER/print.pdf; prints
console messages, requests other than the file itself and data: pictures, and whether the page scrolls sideways. Exits
with 1 where there is any of these. Needs chromium or chrome; talks to it over a pipe, without a port or a package.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PIECE_PX = 3000
PHONE_PX = 600  # narrower is shown as a phone


class Browser:
    """A headless browser on two pipes, one message at a time (Chrome DevTools Protocol, NUL-separated JSON)."""

    def __init__(self, program: str, profile: str) -> None:
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        # The protocol wants descriptors 3 and 4 in the child; a shell puts them there.
        command = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}'
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            ["bash", "-c", command, program, *flags, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_child, from_child),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        self.session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, keep events that arrive meanwhile, return the result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return dict(found["result"])
            self.events.append(found)

    def wait_for(self, event: str) -> None:
        """Read until `event` has arrived."""
        while not any(e.get("method") == event for e in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 2**20)
            if not piece:
                raise RuntimeError("the browser has gone")
            self._rest += piece
        text, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(text))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def look(browser: Browser, page: Path, width: int, scheme: str, out: Path) -> list[str]:
    """Pictures of the whole page at `width` css px in a colour scheme; what is wrong with it."""
    browser.events.clear()
    phone = width < PHONE_PX
    screen = {"width": width, "height": 844 if phone else 900, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    browser.call("Emulation.setDeviceMetricsOverride", **screen)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", media="screen", features=media)
    browser.call("Page.navigate", url=page.resolve().as_uri())
    browser.wait_for("Page.loadEventFired")
    size = browser.call("Page.getLayoutMetrics")["cssContentSize"]
    for number, top in enumerate(range(0, int(size["height"]) + 1, PIECE_PX)):
        clip = {"x": 0, "y": top, "width": width, "height": min(PIECE_PX, size["height"] - top), "scale": 1}
        if clip["height"] < 1:
            continue
        shot = browser.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        (out / f"{width}_{scheme}_{number}.png").write_bytes(base64.b64decode(shot["data"]))
    wrong = [f"scrolls sideways: {size['width']} px of content"] if size["width"] > width + 0.5 else []
    return [f"{width} px, {scheme}: {text}" for text in wrong + complaints(browser.events, page)]


def complaints(events: list[dict[str, Any]], page: Path) -> list[str]:
    """Console messages, exceptions, and requests beyond the file itself."""
    found = []
    for event in events:
        values = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            url = values["request"]["url"]
            if url.split("#")[0] != page.resolve().as_uri() and not url.startswith("data:"):
                found.append(f"asks for {url[:200]}")
        elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            found.append(json.dumps(values)[:300])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--width", type=int, nargs="+", default=[1280, 390])
    asked = parser.parse_args()
    if not asked.page.is_file():
        parser.error(f"{asked.page}: no such page")
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(asked.browser, profile)
        try:
            for domain in ("Page", "Network", "Runtime", "Log"):
                browser.call(f"{domain}.enable")
            wrong = []
            for width in asked.width:
                for scheme in ("light", "dark"):
                    wrong += look(browser, asked.page, width, scheme, asked.out)
            browser.call("Emulation.clearDeviceMetricsOverride")
            browser.call("Emulation.setEmulatedMedia", media="", features=[])
            printed = browser.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
            (asked.out / "print.pdf").write_bytes(base64.b64decode(printed["data"]))
        finally:
            browser.close()
    for text in wrong:
        print(text)
    print(f"{len(wrong)} complaints; pictures in {asked.out}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
