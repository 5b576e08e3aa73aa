"""A real Chromium, steered over its DevTools pipe: opens a page, asks it questions, presses keys, takes pictures."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.brokers import DEADLINE_SECONDS, wait_for

_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Space": (" ", 32, " "),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
_SHIFT = 8
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--remote-debugging-pipe"),
)


class Browser:
    """One headless Chromium, with one page to begin with.

    Args:
        binary: the executable.
        profile: a folder of its own.
        width: of the page, in pixels.
        height: of the page, in pixels.
        dark: which colour scheme the page is told that the user prefers.
    """

    def __init__(self, binary: str, profile: Path, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        to_read, self._commands = os.pipe()
        self._answers, to_write = os.pipe()
        self._process = subprocess.Popen(
            # The pipe's ends must have the numbers 3 and 4, which bash can see to (dash only for small numbers).
            [
                "bash",
                "-c",
                f'exec "$@" 3<&{to_read} 4>&{to_write}',
                "bash",
                binary,
                *_OPTIONS,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._ids = itertools.count(1)
        self._buffer = b""
        self.complaints: list[str] = []
        """What the page has written to the console as an error, and exceptions that nobody caught."""
        self._session: str | None = None
        self.open_tab("about:blank")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(timeout=DEADLINE_SECONDS)
        os.close(self._commands)
        os.close(self._answers)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def open_tab(self, url: str) -> str:
        """Open another tab, which hides the others and is the one to be steered; the name of the one that was."""
        before, self._session = self._session, None
        target = self._call("Target.createTarget", url=url)["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        return before or ""

    def go_to_tab(self, name: str) -> None:
        """Bring a tab to the front, and steer it."""
        self._session = name
        self._call("Page.bringToFront")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, *, shift: bool = False, times: int = 1) -> None:
        """Press a key by its name, as in ``Tab``."""
        name, code, text = _KEYS[key]
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self._call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=name,
                    code=key,
                    windowsVirtualKeyCode=code,
                    text=text if kind == "keyDown" else "",
                    modifiers=_SHIFT if shift else 0,
                )

    def type(self, text: str) -> None:
        """Put text in where the focus is, as an input method does."""
        self._call("Input.insertText", text=text)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save a PNG of what is in view, or of the whole page."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        request: dict[str, Any] = {"id": number, "method": method, "params": params}
        if getattr(self, "_session", None):
            request["sessionId"] = self._session
        os.write(self._commands, json.dumps(request).encode() + b"\0")
        end = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < end:
            message = self._next()
            self._hear(message)
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
        raise AssertionError(f"chromium does not answer {method}")

    def _hear(self, event: Any) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert", "warning"):
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.complaints.append(f"{params['entry']['text']} ({params['entry'].get('url')})")

    def _next(self) -> Any:
        while b"\0" not in self._buffer:
            chunk = os.read(self._answers, 1 << 20)
            if not chunk:
                raise AssertionError("chromium has ended")
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)


def find_chromium() -> str:
    """The chromium executable; without one the test is skipped, or fails where CI is "true"."""
    binary = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if binary is None:
        missing = "chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return binary


def text(page: Browser, selector: str) -> str:
    """What can be read there; nothing where it is hidden."""
    find = f"const found = document.querySelector({selector!r})"
    return str(page.ask(f"(() => {{ {find}; return found?.checkVisibility() ? found.innerText : '' }})()"))


def count(page: Browser, selector: str) -> int:
    return int(page.ask(f"document.querySelectorAll({selector!r}).length"))


def wait_for_text(page: Browser, selector: str, wanted: str) -> None:
    wait_for(
        lambda: wanted in text(page, selector),
        what=lambda: f"{wanted!r} in {selector}: {text(page, selector)!r}, {page.complaints}",
    )


def focused(page: Browser) -> str:
    """What has the focus, as a screen reader would name it."""
    return str(
        page.ask(
            "(() => { const e = document.activeElement; return (e?.getAttribute('aria-label') || e?.innerText "
            "|| e?.labels?.[0]?.innerText || e?.tagName || '').trim() })()"
        )
    )


def press_until(page: Browser, wanted: str, *, most: int = 60) -> None:
    """Go on by Tab until something is in focus."""
    seen = []
    for _ in range(most):
        page.press("Tab")
        seen.append(focused(page))
        if wanted in seen[-1]:
            return
    raise AssertionError(f"Tab does not reach {wanted!r}, only {seen}")
