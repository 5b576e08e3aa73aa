"""``python -m docs.images.make`` (or ``make pictures``): the pictures of the documentation.

The README's are from a real run of the demo; those of the page's other views from a day that `story` tells.

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

from docs.images.story import tell
from driftprint.clock import SystemClock
from driftprint_demo.demo import Demo
from driftprint_demo.processes import free_port
from tests.brokers import wait_for
from tests.server.browser import Browser, find_chromium
from tests.server.page_server import PageServer

HERE = Path(__file__).parent
COLUMNS = 96
ALL_PICTURES = "[...document.querySelectorAll('.thumbnails img')].every((picture) => picture.naturalWidth > 0)"


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
        take_views(workspace, into=HERE)


def take_views(workspace: Path, *, into: Path) -> None:
    """The page's views, in light and dark, on a desk and on a phone. The tests take them as well.

    Args:
        workspace: for the server and the browser.
        into: the folder for the pictures.

    Raises:
        AssertionError: where the page does not show what is to be seen, or complains in its console.
    """
    server = PageServer(workspace, approve=True)
    try:
        server.take_all(tell())
        charts = "document.querySelectorAll('.timechart path.line').length"
        with Browser(find_chromium(), workspace / "device", width=1200, height=900) as browser:
            browser.open(f"{server.url}/#/device/north/line-1")
            wait_for(lambda: browser.ask(charts) > 8, what="the charts")
            wait_for(lambda: browser.ask("document.querySelectorAll('details.course').length") > 1, what="the alerts")
            browser.ask("document.querySelector('details.course').open = true")
            wait_for(lambda: browser.ask("document.querySelectorAll('.revisions tr').length") > 1, what="the alert")
            wait_for(lambda: browser.ask(ALL_PICTURES), what="the frames")
            browser.picture(into / "device.png", whole=True)
            assert not browser.complaints, browser.complaints
        with Browser(find_chromium(), workspace / "phone", width=390, height=844, dark=True) as browser:
            browser.open(server.url)
            wait_for(lambda: browser.ask("document.querySelectorAll('#current-list button').length") > 3, what="alerts")
            browser.picture(into / "phone.png")
            assert not browser.complaints, browser.complaints
    finally:
        server.close()


def take_page(url: str, workspace: Path) -> None:
    """The server's page once both changes are reported."""
    wait_for(lambda: alarms(url) >= 2, what="two alarms")
    with Browser(find_chromium(), workspace / "page", width=1200, height=830) as browser:
        browser.open(url)
        wait_for(lambda: browser.ask("document.querySelectorAll('#rows tr').length") >= 3, what="the page's table")
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
