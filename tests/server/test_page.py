"""The page in a real browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftprint.messages import Cause, DeviceStatus, encode
from tests.brokers import wait_for
from tests.server.browser import Browser, find_chromium
from tests.server.messages import alert, health, state, topic_of, window
from tests.server.processes import DeviceClient, ServerProcess

NASTY = "<img src=x onerror=\"document.title='hacked'\">"


@pytest.fixture
def open_page(server: ServerProcess, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    browsers: list[Browser] = []

    def open_in(*, width: int = 1280) -> Browser:
        browser = Browser(find_chromium(), tmp_path / f"profile-{len(browsers)}", width=width)
        browsers.append(browser)
        browser.open(server.url)
        wait_for(lambda: "live" in text(browser, "#link"), what="the page to be live", seconds=20)
        return browser

    yield open_in
    for browser in browsers:
        browser.__exit__(None, None, None)


def text(page: Browser, selector: str) -> str:
    """What can be read there; nothing where it is hidden."""
    find = f"const found = document.querySelector({selector!r})"
    return str(page.ask(f"(() => {{ {find}; return found?.checkVisibility() ? found.innerText : '' }})()"))


def test_the_empty_page_tells_how_to_connect_an_agent(open_page: Callable[..., Browser]) -> None:
    page = open_page()
    assert "driftprint agent --config agent.toml" in text(page, "#empty")
    assert text(page, "#streams") == ""


def test_a_device_appears_with_its_alarm_and_alert(open_page: Callable[..., Browser], device: DeviceClient) -> None:
    page = open_page()
    device.send(state(), health(), window(1, ratio=0.25), alert(2))
    wait_for(lambda: "alarm" in text(page, "#rows"), what=lambda: f"the alarm: {text(page, 'body')}")
    row = text(page, "#rows tr")
    for shown in ("pi-1 / belt", "north", "25%", "digits-1", "10.0", "just now"):
        assert shown in row
    assert text(page, "#alarms") == "1"
    assert "The model sees data it was not trained for." in text(page, "#current-list")
    assert text(page, "#announcer") == "Alarm on pi-1 / belt"
    assert text(page, "#empty") == ""

    device.send(state(DeviceStatus.OFFLINE))
    wait_for(lambda: "offline" in text(page, "#rows"), what="the device to be offline")


def test_a_camera_at_fault_is_shown_as_that_and_as_no_alarm(
    open_page: Callable[..., Browser], device: DeviceClient
) -> None:
    page = open_page()
    summary = "The camera's picture is blown out."
    device.send(state(), alert(1, cause=Cause.BLOWN_OUT, summary=summary, outlier_ratio=None))
    device.send(window(2, camera_faults=(Cause.BLOWN_OUT,), class_mix_alarm=True))
    wait_for(lambda: "class mix" in text(page, "#rows"), what="the mix of classes")
    wait_for(lambda: "camera: blown out" in text(page, "#rows"), what=lambda: f"the fault: {text(page, 'body')}")
    assert summary in text(page, "#current-list")
    assert text(page, "#alarms") == "0"


def test_what_a_device_says_is_shown_as_text(open_page: Callable[..., Browser], device: DeviceClient) -> None:
    page = open_page()
    bundle = {"name": NASTY, "version": 1}
    device.publish(topic_of(window()), encode(window(1, bundle=bundle, faults_total={NASTY: 3})))
    device.publish(topic_of(alert()), encode(alert(2, summary=NASTY)))
    wait_for(lambda: NASTY in text(page, "#current-list"), what="the alert")
    assert NASTY in text(page, "#rows")
    assert page.ask("document.querySelectorAll('main img').length") == 0
    assert "hacked" not in page.ask("document.title")


def test_the_page_says_when_the_server_is_gone_and_when_it_is_back(
    open_page: Callable[..., Browser], server: ServerProcess, device: DeviceClient
) -> None:
    page = open_page()
    device.send(window(1))
    wait_for(lambda: "pi-1 / belt" in text(page, "#rows"), what="the stream")
    server.kill()
    wait_for(lambda: "does not answer" in text(page, "#notice"), what="the notice")
    assert "pi-1 / belt" in text(page, "#rows")
    server.start()
    wait_for(lambda: text(page, "#notice") == "" and text(page, "#link") == "live", what="the page to be live again")


def test_the_page_fits_a_phone(open_page: Callable[..., Browser], device: DeviceClient) -> None:
    page = open_page(width=390)
    assert page.ask("document.documentElement.scrollWidth") <= 390
    long = "a-name-of-the-greatest-length-that-there-may-be-which-is-64-here"
    device.send(window(1, stream=long), alert(2, stream=long))
    wait_for(lambda: long in text(page, "#current-list"), what="the stream")
    assert page.ask("document.documentElement.scrollWidth") <= 390
