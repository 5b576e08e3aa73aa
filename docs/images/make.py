"""``python -m docs.images.make`` (or ``make pictures``): the README's pictures, from a real run of the demo.

Needs Chromium and the packages of the extra ``dev``.
"""

from __future__ import annotations

import io
import json
import tempfile
import threading
import urllib.request
from pathlib import Path

from rich.console import Console

from driftprint.clock import SystemClock
from driftprint_demo.demo import Demo
from driftprint_demo.processes import free_port
from tests.brokers import wait_for
from tests.server.browser import Browser, find_chromium

HERE = Path(__file__).parent
COLUMNS = 96


def main() -> None:
    """Run the demo once and take the pictures."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", highlight=False)
    port = free_port(8466)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        camera = threading.Thread(target=take_page, args=(f"http://127.0.0.1:{port}", workspace))
        camera.start()
        failure = Demo(workspace, http_port=port, mqtt_port=None, console=console, clock=SystemClock()).run(once=True)
        camera.join()
        if failure is not None:
            raise SystemExit(failure)
        take_terminal(console, workspace)


def take_page(url: str, workspace: Path) -> None:
    """The server's page once both changes are reported."""
    wait_for(lambda: alarms(url) >= 2, what="two alarms", seconds=60)
    with Browser(find_chromium(), workspace / "page", width=1200, height=720) as browser:
        browser.open(url)
        wait_for(lambda: browser.ask("document.querySelectorAll('tbody tr').length") >= 3, what="the page's table")
        threading.Event().wait(3)  # for the sparklines to have something to draw
        browser.picture(HERE / "page.png")


def take_terminal(console: Console, workspace: Path) -> None:
    """What the terminal has shown."""
    drawing = workspace / "terminal.svg"
    console.save_svg(str(drawing), title="make demo")
    with Browser(find_chromium(), workspace / "terminal", width=1200, height=1000) as browser:
        browser.open(drawing.as_uri())
        width, height = browser.ask(
            "(() => { const box = document.documentElement.viewBox.baseVal; return [box.width, box.height] })()"
        )
    size = round(1200 * height / width)
    with Browser(find_chromium(), workspace / "drawn", width=1200, height=size) as browser:
        browser.open(drawing.as_uri())
        wait_for(lambda: browser.ask("document.readyState") == "complete", what="the drawing")
        browser.picture(HERE / "terminal.png")


def alarms(url: str) -> int:
    """How many streams the server shows an alarm of."""
    try:
        with urllib.request.urlopen(f"{url}/api/fleet", timeout=2) as answer:
            fleet = json.load(answer)
    except OSError:
        return 0
    return sum(stream["alarm"] for device in fleet["devices"] for stream in device["streams"])


if __name__ == "__main__":
    main()
