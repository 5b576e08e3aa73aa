"""The page in a real browser: over a real server and broker, and over its routes fed by hand."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from driftprint.clock import SystemClock
from driftprint.errors import MessageError
from driftprint.messages import AlertStatus, BundleRef, Cause, DeviceMessage, DeviceStatus, Thumbnail
from driftprint_server.fleet import Fleet
from driftprint_server.history.decisions import AlertKey
from driftprint_server.listing import MOST_CURRENT
from driftprint_server.store import Store
from tests.brokers import Mosquitto, find_mosquitto, wait_for
from tests.server.browser import Browser, count, find_chromium, focused, press_until, text, wait_for_text
from tests.server.clocks import FakeClock
from tests.server.messages import NEW, alert, health, state, window
from tests.server.page_server import PASSWORD, PageServer
from tests.server.processes import DeviceClient, ServerProcess

NASTY = "<img src=x onerror=\"document.title='hacked'\">"
LONG = "a-name-of-the-greatest-length-that-there-may-be-which-is-64-here"
MANY = 20_000
MOST_CONNECTIONS = 6
"""That a browser has to a host, for all its tabs together."""
RAISED = AlertKey("north", "pi-1", "belt", f"{1:032x}")
STYLES = "{ dateStyle: 'medium', timeStyle: 'medium' }"
OpenPage = Callable[..., Browser]


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[OpenPage]:
    """Opens pages, each in a browser of its own, and sees at the end that they had nothing to complain of."""
    browsers: list[Browser] = []

    def open_in(url: str, *, width: int = 1280, dark: bool = False) -> Browser:
        browsers.append(Browser(find_chromium(), tmp_path / f"profile-{len(browsers)}", width=width, dark=dark))
        browsers[-1].open(url)
        wait_for(lambda: "live" in text(browsers[-1], "#link"), what="the page to be live")
        return browsers[-1]

    yield open_in
    for browser in browsers:
        browser.__exit__(None, None, None)


@pytest.fixture
def open_page(server: ServerProcess, browse: OpenPage) -> OpenPage:
    return lambda **options: browse(server.url, **options)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., PageServer]]:
    """Starts the page's server within the test."""
    servers: list[PageServer] = []

    def start(**options: Any) -> PageServer:
        servers.append(PageServer(tmp_path, **options))
        return servers[-1]

    yield start
    for one in servers:
        one.close()


def drifting(device: str = "pi-1") -> list[tuple[DeviceMessage, float]]:
    """What a device has said in half an hour, with its age: drift that is raised still, and a fault that is over."""
    names: dict[str, Any] = {"device": device}
    said: list[tuple[DeviceMessage, float]] = [(state(**names), 1.0), (health(**names), 1.0)]
    for seq in range(1, 181):
        late = seq > 120
        said.append(
            (
                window(
                    seq,
                    ratio=0.6 if late else 0.04,
                    evidence=1.5 if late else 0.1,
                    alarm=late,
                    camera_faults=(Cause.COVERED,) if 20 < seq < 40 else (),
                    **names,
                ),
                10.0 * (181 - seq),
            )
        )
    frame = Thumbnail(frame="7", recorded_at=1.0, p_value=0.001, jpeg=_jpeg())
    shares = {"layers": {"relu": 0.8}, "classes": {"cat": 0.7}}
    drift: dict[str, Any] = {
        "number": 1,
        "recorded_at": 100.0,
        "raised_at": 100.0,
        "thumbnails": (frame,),
        **shares,
        **names,
    }
    covered: dict[str, Any] = {"number": 2, "cause": Cause.COVERED, "outlier_ratio": None, "p0": None, **names}
    over: dict[str, Any] = {
        "status": AlertStatus.CLEARED,
        "recorded_at": 300.0,
        "raised_at": 100.0,
        "cleared_at": 300.0,
    }
    said += [
        (alert(181, **drift), 600.0),
        (alert(182, revision=1, status=AlertStatus.UPDATED, summary="It is worse.", **drift), 300.0),
        (alert(190, summary="The camera is covered.", **covered, **over), 1400.0),
    ]
    return sorted(said, key=lambda one: -one[1])


def _jpeg() -> bytes:
    drawn = BytesIO()
    Image.new("RGB", (32, 32), (90, 120, 200)).save(drawn, "JPEG")
    return drawn.getvalue()


# --- over a real broker ------------------------------------------------------------------------------


def test_the_empty_page_tells_how_to_connect_an_agent(open_page: OpenPage) -> None:
    page = open_page()
    wait_for_text(page, "#empty", "driftprint agent --config agent.toml")
    assert text(page, "#streams") == ""
    assert page.complaints == []


def test_a_device_appears_with_its_alarm_and_alert(open_page: OpenPage, device: DeviceClient) -> None:
    page = open_page()
    device.send(state(), health(), window(1, ratio=0.25), alert(2))
    wait_for_text(page, "#rows", "alarm")
    row = text(page, "#rows tr")
    for shown in ("pi-1 / belt", "north", "25%", "digits-1", "10.0", "just now"):
        assert shown in row
    assert text(page, "#alarms") == "1"
    assert "The model sees data it was not trained for." in text(page, "#current-list")
    assert text(page, "#announcer") == "Alarm on pi-1 / belt"
    assert text(page, "#empty") == ""

    device.send(state(DeviceStatus.OFFLINE))
    wait_for_text(page, "#rows", "offline")
    assert page.complaints == []


def test_a_camera_at_fault_is_shown_as_that_and_as_no_alarm(open_page: OpenPage, device: DeviceClient) -> None:
    page = open_page()
    summary = "The camera's picture is blown out."
    device.send(state(), alert(1, cause=Cause.BLOWN_OUT, summary=summary, outlier_ratio=None))
    device.send(window(2, camera_faults=(Cause.BLOWN_OUT,), class_mix_alarm=True))
    wait_for_text(page, "#rows", "class mix")
    wait_for_text(page, "#rows", "camera: blown out")
    wait_for_text(page, "#current-list", summary)
    assert text(page, "#alarms") == "0"


def test_the_page_says_when_the_server_is_gone_and_when_it_is_back(
    open_page: OpenPage, server: ServerProcess, device: DeviceClient
) -> None:
    page = open_page()
    device.send(window(1))
    wait_for_text(page, "#rows", "pi-1 / belt")
    server.kill()
    wait_for_text(page, "#notice", "does not answer")
    assert "pi-1 / belt" in text(page, "#rows")
    server.start()
    wait_for(
        lambda: text(page, "#notice") == "" and text(page, "#link") == "live",
        what="the page to be live again",
    )
    device.send(window(2, ratio=0.5))
    wait_for_text(page, "#rows", "50%")


@pytest.mark.parametrize("width", [390, 1440])
def test_an_operator_goes_through_everything_and_a_crash_of_the_server_changes_nothing(
    mosquitto: Mosquitto, tmp_path: Path, connect: Callable[..., DeviceClient], width: int
) -> None:
    server = ServerProcess(tmp_path, mosquitto.port, login=True)
    server.start()
    try:
        for number in (1, 2, 3):
            names: dict[str, Any] = {"device": f"pi-{number}"}
            device = connect(**names)
            past = [window(seq, ratio=0.1 * number, age_seconds=600.0 - 60 * seq, **names) for seq in range(1, 9)]
            device.send(state(**names), health(**names), *past)
            device.wait_for_acks(range(1, 9))
            if number == 2:
                device.send(alert(9, **names))
                device.wait_for_acks([9])
        password = server.users("add", "ann", "--role", "operator")
        with Browser(find_chromium(), tmp_path / "ann", width=width) as page:
            page.open(server.url)
            wait_for_login(page)
            assert focused(page) == "Name"
            page.type("ann")
            page.press("Tab")
            page.type(password)
            page.press("Enter")
            wait_for_text(page, "#rows", "pi-3")
            assert count(page, "#rows tr") == 3
            assert text(page, "#who-name") == "ann"
            page.ask("document.querySelector('#search').focus()")
            page.type("pi-3")
            wait_for(lambda: count(page, "#rows tr") == 1, what="the one that was searched")
            page.open(server.url + "/#/?sort=outlier_ratio&descending=true")
            wait_for(
                lambda: count(page, "#rows tr") == 3 and "pi-3" in text(page, "#rows tr"), what="the greatest first"
            )

            server.kill()
            wait_for_text(page, "#notice", "does not answer")
            server.start()
            wait_for(lambda: text(page, "#link") == "live", what="the page to be live again")
            assert text(page, "#who-name") == "ann"
            page.complaints.clear()  # the server was away

            press_until(page, "Acknowledge the alert of pi-2 / belt")
            page.press("Enter")
            wait_for(lambda: focused(page).startswith("Note"), what="the dialog")
            page.type("on my way")
            page.press("Enter")
            wait_for_text(page, "#current-list", "Acknowledged by ann just now: on my way")
            press_until(page, "Mute stream pi-2 / belt")
            page.press("Enter")
            wait_for(lambda: focused(page) == "8 hours", what="the dialog")
            page.press("Enter")
            wait_for_text(page, "#current-list", "Stream muted by ann")
            page.open(server.url + "/#/device/north/pi-2")
            wait_for(lambda: count(page, ".timechart path.line") >= 4, what="the charts")
            wait_for_text(page, "#view-device .alerts", "Stream muted by ann")
            assert page.ask("document.documentElement.scrollWidth") <= width
            page.ask("document.querySelector('#log-out').focus()")
            page.press("Enter")
            wait_for_login(page)
            page.open(server.url)
            wait_for(lambda: page.ask("location.pathname") == "/login", what="the log-in page again")
            assert page.complaints == []
        assert server.metric('driftprint_alert_muted{site="north",device="pi-2",stream="belt"}') == 1
    finally:
        server.kill()


def test_twenty_thousand_devices_of_before_a_restart_are_there_at_once(
    mosquitto: Mosquitto, tmp_path: Path, browse: OpenPage
) -> None:
    server = ServerProcess(tmp_path, mosquitto.port, settings={"fleet": f"max_devices = {MANY}"})
    fleet = Fleet(max_devices=MANY, forget_after_seconds=86_400)
    for number in range(MANY):
        fleet.apply(window(1, device=f"pi-{number:05}", ratio=number / MANY), SystemClock().now().wall)
    with closing(Store(server.store)) as store:
        store.save(fleet.unsaved())
    server.start()
    try:
        page = browse(server.url)
        wait_for(lambda: count(page, "#rows tr") == 50, what="a page of rows")
        wait_for_text(page, "#devices-all", "of 20,000")
        page.ask("document.querySelector('[data-sort=outlier_ratio] button').click()")
        wait_for(lambda: "pi-19999" in text(page, "#rows tr"), what="the greatest ratio first")
        page.ask("document.querySelector('#search').focus()")
        page.type("pi-12345")
        wait_for(lambda: count(page, "#rows tr") == 1, what="the one that was searched")
        assert count(page, "*") < 3000
        assert page.complaints == []
    finally:
        server.kill()


def test_the_page_says_while_the_server_hears_nothing(tmp_path: Path, browse: OpenPage) -> None:
    mosquitto = Mosquitto(find_mosquitto(), tmp_path / "broker")
    mosquitto.start()
    server = ServerProcess(tmp_path, mosquitto.port)
    server.start()
    try:
        page = browse(server.url)
        assert text(page, "#notice") == ""
        mosquitto.kill()
        wait_for_text(page, "#notice", f"not connected to the broker at 127.0.0.1:{mosquitto.port}")
        assert text(page, "#link") == "in trouble"
        mosquitto.start()
        wait_for(lambda: text(page, "#link") == "live" and text(page, "#notice") == "", what="all to be well again")
        assert page.complaints == []
    finally:
        server.kill()
        mosquitto.kill()


def test_who_waits_and_what_another_has_done_appear_by_themselves(
    mosquitto: Mosquitto, tmp_path: Path, connect: Callable[..., DeviceClient], browse: OpenPage
) -> None:
    server = ServerProcess(tmp_path, mosquitto.port, settings={"enrolment": 'mode = "approve"'})
    server.start()
    try:
        page = browse(server.url)
        device = connect()
        device.send(state())
        wait_for_text(page, "#waiting-list", "pi-1")
        httpx.put(f"{server.url}/api/enrolment/north/pi-1", json={"approved": True}).raise_for_status()
        wait_for(lambda: text(page, "#waiting") == "", what="nobody to wait")
        device.send(state(), alert(2), state(DeviceStatus.OFFLINE))
        wait_for_text(page, "#current-list", "Acknowledge")
        httpx.put(
            f"{server.url}/api/alerts/{RAISED.alert_id}/acknowledgement", json={"note": "mine"}
        ).raise_for_status()
        wait_for_text(page, "#current-list", ": mine")
        assert page.complaints == []
    finally:
        server.kill()


def test_many_tabs_do_not_keep_each_other_from_the_server(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve()
    page = browse(server.url)
    first = page.open_tab(server.url)
    for _ in range(MOST_CONNECTIONS):
        wait_for_text(page, "#link", "live")
        page.open_tab(server.url)
    wait_for_text(page, "#link", "live")
    server.take(window(1))
    wait_for_text(page, "#rows", "pi-1 / belt")
    page.go_to_tab(first)
    wait_for_text(page, "#rows", "pi-1 / belt")
    assert text(page, "#link") == "live"
    assert page.complaints == []


# --- the fleet ---------------------------------------------------------------------------------------


def test_what_a_device_says_is_shown_as_text_on_every_view(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve()
    bundle = BundleRef(name=NASTY, version=1)
    labels: dict[str, Any] = {"layers": {NASTY: 0.5}, "classes": {NASTY: 0.5}}
    windows = [{**w.model_dump(), "classes": {NASTY: {"frames": 9, "outlier_ratio": 0.5}}} for w in window().windows]
    server.take(
        state(agent_version=NASTY),
        health(bundle_errors={"belt": NASTY}, providers={"belt": (NASTY,)}),
        window(1, bundle=bundle, faults_total={NASTY: 3}, windows=windows),
        alert(2, summary=NASTY, bundle=bundle, **labels),
    )
    page = browse(server.url)
    wait_for_text(page, "#current-list", NASTY)
    wait_for_text(page, "#rows", NASTY)
    page.open(server.url + "/#/device/north/pi-1")
    wait_for_text(page, ".facts", NASTY)
    wait_for_text(page, "#view-device .alerts", NASTY)
    wait_for(lambda: count(page, ".timechart path.line") > 2, what="the charts")
    page.ask("document.querySelector('details.course').open = true; document.querySelector('.as-table').open = true")
    wait_for_text(page, ".inside", NASTY)
    wait_for_text(page, ".as-table", NASTY)
    page.open(server.url + "/#/bundles")
    wait_for_text(page, "#bundles-table", NASTY)
    page.open(server.url + "/#/device/%3Cimg%20src=x%20onerror=alert(1)%3E/%")
    wait_for_text(page, "#view-device", "no device % at site <img src=x")
    assert count(page, "main img") == 0
    assert "hacked" not in page.ask("document.title")
    assert [said for said in page.complaints if "404" not in said] == []


def test_the_tile_and_the_list_of_alerts_say_what_each_of_them_counts(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take(window(1, alarm=True), alert(2), alert(3, number=2, cause=Cause.BLURRED, outlier_ratio=None))
    page = browse(server.url)
    wait_for(lambda: count(page, "#current-list .alert") == 2, what="both alerts")
    assert text(page, "#alarm-tile").split() == ["Streams", "in", "drift", "alarm", "1"]
    assert text(page, "#current-title") == "2 alerts raised now, of any cause"


def test_the_longest_silent_device_is_found_on_a_phone_by_keyboard(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    for number in range(3):
        server.take(window(1, device=f"pi-{number}"), ago=600.0 * number)
    page = browse(server.url + "/#/?sort=last_seen&descending=true", width=390)
    wait_for(lambda: "pi-0" in text(page, "#rows tr"), what="the newest first")
    press_until(page, "Descending order, reverse it")
    page.press("Enter")
    wait_for(lambda: "pi-2" in text(page, "#rows tr"), what="the longest silent first")
    assert focused(page) == "Ascending order, reverse it"
    assert "descending" not in page.ask("location.hash")
    assert page.ask("document.documentElement.scrollWidth") <= 390
    assert page.complaints == []


def test_the_table_is_searched_sorted_and_filtered_and_its_address_remembers(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    for number in range(3):
        server.take(
            window(1, device=f"pi-{number}", ratio=0.1 * number, bundle=BundleRef(name="digits", version=number))
        )
    server.take(window(1, site="south", device="other", alarm=True))
    page = browse(server.url)
    wait_for(lambda: count(page, "#rows tr") == 4, what="four rows")
    page.ask("document.querySelector('[data-sort=outlier_ratio] button').click()")
    wait_for(lambda: "pi-2" in text(page, "#rows tr"), what="the greatest ratio first")
    assert page.ask("document.querySelector('[data-sort=outlier_ratio]').getAttribute('aria-sort')") == "descending"
    page.ask("document.querySelector('#search').focus()")
    page.type("NORTH pi")
    wait_for(lambda: count(page, "#rows tr") == 3, what="three rows")
    page.open("about:blank")
    page.open(f"{server.url}/#/?search=pi&bundle=digits-1")
    wait_for(lambda: count(page, "#rows tr") == 1, what="the row of one bundle")
    wait_for_text(page, "#filtered", "running digits-1")
    assert page.ask("document.querySelector('#search').value") == "pi"
    page.open(f"{server.url}/#/?state=alarm")
    wait_for(lambda: "other" in text(page, "#rows") and count(page, "#rows tr") == 1, what="what is in alarm")
    page.open(f"{server.url}/#/?search=nobody")
    wait_for_text(page, "#nothing-found", "Nothing is like that.")
    assert page.complaints == []


def test_a_fleet_of_many_shows_a_page_of_it_at_a_time(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve(history=False)
    server.take_all([(window(1, device=f"pi-{number:05}"), 0.0) for number in range(MANY)])
    server.take_all([(alert(2, device=f"pi-{number:05}", number=number), 0.0) for number in range(3 * MOST_CURRENT)])
    page = browse(server.url)
    wait_for_text(page, "#devices-all", "of 20,000")
    wait_for(lambda: count(page, "#rows tr") == 50, what="a page of rows")
    assert text(page, "#pager-text") == "1 to 50 of 20,000"
    page.ask("document.querySelector('#next').click()")
    wait_for_text(page, "#pager-text", "51 to 100 of 20,000")
    page.ask("document.querySelector('#search').focus()")
    page.type("19999")
    wait_for(lambda: "pi-19999" in text(page, "#rows tr"), what="the one that was searched")
    assert count(page, "*") < 3000
    assert page.complaints == []


def test_the_table_draws_what_the_server_remembers(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve()
    server.take(*(window(seq, ratio=seq / 10) for seq in range(1, 6)))
    page = browse(server.url)
    drawn = "document.querySelector('#rows .spark path:not(.area)')?.getAttribute('d').split('L').length"
    wait_for(lambda: page.ask(drawn) == 5, what="five points")
    server.take(window(6))
    wait_for(lambda: page.ask(drawn) == 6, what="a sixth point")


# --- a device ----------------------------------------------------------------------------------------


def test_a_device_is_shown_over_time_with_its_alerts(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve()
    server.take_all(drifting())
    page = browse(server.url + "/#/device/north/pi-1")
    wait_for(lambda: count(page, ".timechart path.line") >= 4, what="ratio, evidence and two classes")
    wait_for(lambda: count(page, ".timechart rect.raised.drift") == 2, what="the alert's mark on both charts")
    assert count(page, ".timechart rect.raised.other") == 2
    assert count(page, ".timechart rect.fault") == 1
    for shown in ("60%", "150%", "digits-1"):
        assert shown in text(page, ".facts")
    for shown in ("62 °C", "slowed down now", "toy-2: is not signed"):
        assert shown in text(page, "#view-device section:last-of-type")
    wait_for_text(page, "#view-device .alert.current", "still raised")
    assert "cleared after 3 min" in text(page, "#view-device .alerts")
    page.ask("document.querySelector('details.course').open = true")
    wait_for(
        lambda: page.ask("document.querySelector('.thumbnails img')?.naturalWidth") == 32, what="the picture of a frame"
    )
    assert "It is worse." in text(page, ".revisions")
    assert "relu" in text(page, ".shares")
    server.take(window(500, ratio=0.77))
    wait_for_text(page, ".facts", "77%")
    wait_for_text(page, ".readout", "77%")
    assert page.complaints == []


def test_a_moment_of_the_charts_is_read_by_pointer_keyboard_and_table(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take_all(drifting())
    page = browse(server.url + "/#/device/north/pi-1/belt?range=24h")
    wait_for(lambda: count(page, ".timechart path.line") >= 4, what="the charts")
    points = "Number(document.querySelector('.plot').getAttribute('aria-valuemax'))"
    assert page.ask(points) < 100
    page.open(server.url + "/#/device/north/pi-1/belt")
    wait_for(lambda: page.ask(points) > 100, what="the last hour")
    wait_for_text(page, ".readout", "outliers 60%")
    page.ask("document.querySelector('.plot').focus()")
    page.press("Home")
    wait_for_text(page, ".readout", "outliers 4.0%")
    assert "outliers 4.0%" in page.ask("document.querySelector('.plot').getAttribute('aria-valuetext')")
    assert count(page, ".marker circle") == 4
    page.press("ArrowRight")
    assert page.ask("document.querySelector('.plot').getAttribute('aria-valuenow')") == "1"
    page.press("Escape")
    wait_for_text(page, ".readout", "Latest")
    page.ask(
        "(() => { const b = document.querySelector('.timechart').getBoundingClientRect(); "
        "document.querySelector('.timechart').dispatchEvent(new PointerEvent('pointermove', "
        "{clientX: b.right - 60, clientY: b.top + 40, bubbles: true})) })()"
    )
    wait_for_text(page, ".readout", "alert: drift")
    page.ask("document.querySelector('.as-table').open = true")
    wait_for(lambda: count(page, ".as-table tbody tr") > 100, what="the table")
    assert "cat" in text(page, ".as-table thead")
    assert page.complaints == []


def test_an_alert_of_a_device_that_was_set_up_anew_ends_where_it_was_last_heard_of(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    of_old = [(window(seq), 10.0 * (181 - seq)) for seq in range(1, 91)]
    of_new = [(window(seq, instance=NEW), 10.0 * (91 - seq)) for seq in range(1, 91)]
    server.take_all([*of_old, (alert(100), 1000.0), *of_new])
    page = browse(server.url + "/#/device/north/pi-1")
    wait_for_text(page, "#view-device .alerts", "never cleared")
    ends = (
        "[...document.querySelectorAll('.timechart rect.raised')].map((shade) => "
        "Number(shade.getAttribute('x')) + Number(shade.getAttribute('width')))"
    )
    wait_for(lambda: len(page.ask(ends)) == 2, what="the alert's mark on both charts")
    assert max(page.ask(ends)) < 0.9 * page.ask("document.querySelector('.timechart').getBoundingClientRect().width")
    wait_for_text(page, ".readout", "Latest")
    assert "alert" not in text(page, ".readout")
    assert page.complaints == []


def test_a_stream_that_is_no_longer_run_is_shown_as_the_history_has_it(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take_all([(window(seq, stream="old", ratio=0.3), 86_400.0 * 20 - seq) for seq in range(1, 9)])
    server.take(alert(9, stream="old", summary="It saw something."), ago=86_400.0 * 20)
    server.take(state(streams=("belt",)), window(10))
    page = browse(server.url + "/#/device/north/pi-1/old")
    wait_for_text(page, "#view-device", "old is no longer run by pi-1. This is what the history has of it.")
    wait_for_text(page, "#view-device .alerts", "It saw something.")
    wait_for_text(page, ".readout", "outliers 30%")
    assert text(page, ".ranges [aria-pressed=true]") == "30 days"
    assert text(page, ".tabs").split("\n") == ["belt", "old (no longer run)"]
    page.open(server.url + "/#/device/north/pi-1/never")
    wait_for_text(page, "#view-device", "pi-1 runs no stream never.")
    assert text(page, "#view-device .chart") == text(page, ".facts") == ""
    assert page.complaints == []


def test_a_device_that_was_forgotten_is_shown_as_the_history_has_it(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take(state(), window(1, ratio=0.3), alert(2), ago=86_400.0)
    server.fleet.forget("north", "pi-1")
    page = browse(server.url + "/#/device/north/pi-1")
    wait_for_text(page, "#view-device", "The server knows pi-1 no longer. This is what the history has of it.")
    wait_for_text(page, "#view-device .alerts", "never cleared")
    wait_for_text(page, ".readout", "outliers 30%")
    server.take(state(), window(3, ratio=0.4))
    wait_for_text(page, ".facts", "40%")
    assert "no longer" not in text(page, "#view-device")


def titled(page: Browser, alarm: bool) -> bool:
    """Whether the title tells of an alarm, or of none."""
    return str(page.ask("document.title")).startswith("(1)") is alarm


def test_a_device_that_is_not_known_is_asked_for_again_only_when_there_are_others(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take(window(1))
    page = browse(server.url + "/#/device/north/pi-2")
    wait_for_text(page, "#view-device", "There is no device pi-2 at site north.")
    asked = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/devices/')).length"
    for seq in range(2, 7):
        alarm = seq % 2 == 0
        server.take(window(seq, alarm=alarm))
        wait_for(partial(titled, page, alarm), what="the event")
    assert page.ask(asked) <= 2  # at first, and with the first event
    server.take(window(1, device="pi-2"))
    wait_for_text(page, ".facts", "digits-1")


def test_older_alerts_are_shown_when_they_are_asked_for(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve()
    over = AlertStatus.CLEARED
    said = [(alert(n, number=n, status=over, summary=f"No {n}."), 3600.0 - n) for n in range(1, 121)]
    server.take_all([*said, (state(), 0.0)])
    page = browse(server.url + "/#/device/north/pi-1/belt")
    server.take(window(200))
    wait_for_text(page, "#view-device .more", "The latest 50 of 120.")
    page.ask("document.querySelector('#view-device .more button').focus()")
    for shown in (100, 120):
        assert focused(page) == "Show older ones"
        page.press("Enter")
        wait_for_text(page, f"#view-device .alert:nth-child({shown})", f"No {121 - shown}.")
    assert text(page, "#view-device .alert:last-child .summary") == "No 1."
    assert text(page, "#view-device .more") == ""
    assert page.complaints == []


def test_the_focus_stays_on_the_tab_of_the_stream_that_is_chosen(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take(state(streams=("belt", "door")), window(1), window(2, stream="door", ratio=0.5))
    page = browse(server.url + "/#/device/north/pi-1")
    wait_for_text(page, ".facts", "4.0%")
    press_until(page, "door")
    page.press("Enter")
    wait_for_text(page, ".facts", "50%")
    assert text(page, ".tabs [aria-current]") == "door"
    assert focused(page) == "door"
    assert page.complaints == []


def test_a_device_without_history_is_shown_as_it_is_now(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve(history=False)
    server.take_all(drifting())
    page = browse(server.url + "/#/device/north/pi-1")
    wait_for_text(page, "#view-device .alerts", "It is worse.")
    wait_for_text(page, "#view-device", "Outliers by predicted class, now")
    assert text(page, ".plot") == ""
    assert text(page, ".deeds") == ""
    assert page.complaints == []


# --- acting ------------------------------------------------------------------------------------------


def log_in(page: Browser, server: PageServer, name: str) -> None:
    page.open(server.url + "/login")
    fill_in(page, name)
    wait_for_text(page, "#who-name", name)


def wait_for_login(page: Browser) -> None:
    """Until the log-in page is there and does its work."""
    there = "document.querySelector('#form') !== null && document.readyState === 'complete'"
    wait_for(lambda: page.ask(there), what="the log-in page")


def fill_in(page: Browser, name: str) -> None:
    """Log in on the log-in page, once it is there."""
    wait_for_login(page)
    page.ask(f"document.querySelector('#form').elements.name.value = {name!r}")
    page.ask("document.querySelector('#password').focus()")
    page.type(PASSWORD)
    page.press("Enter")


def test_an_operator_acknowledges_and_mutes_by_keyboard_alone(serve: Callable[..., PageServer], tmp_path: Path) -> None:
    server = serve(login=True)
    server.take_all(drifting())
    with Browser(find_chromium(), tmp_path / "ann") as page:
        log_in(page, server, "ann")
        wait_for_text(page, "#current-list", "Acknowledge")
        page.ask("document.activeElement.blur()")
        page.press("Tab")
        assert focused(page) == "Skip to the content"
        page.press("Enter")
        press_until(page, "Acknowledge the alert of pi-1 / belt")
        page.press("Enter")
        wait_for(lambda: focused(page).startswith("Note"), what=lambda: f"the note: {focused(page)}")
        page.type(NASTY)
        page.press("Enter")
        wait_for_text(page, "#current-list", f"Acknowledged by ann just now: {NASTY}")
        press_until(page, "Mute stream pi-1 / belt")
        page.press("Enter")
        wait_for_text(page, "#act", "Mute this stream")
        assert "new ones included" in text(page, "#act")
        wait_for(lambda: focused(page) == "8 hours", what=lambda: f"the times: {focused(page)}")
        page.press("ArrowRight")
        page.press("Enter")
        wait_for_text(page, "#current-list", "Stream muted by ann just now until")
        press_until(page, "Unmute the stream")
        page.press("Enter")
        wait_for(
            lambda: "muted" not in text(page, "#current-list"),
            what="the mute to be taken back",
        )
        page.open(server.url + "/#/audit")
        for action in ("alert.acknowledge", "alert.mute", "alert.unmute"):
            wait_for_text(page, "#audit-rows", action)
        page.ask("document.querySelector('#log-out').click()")
        wait_for(lambda: count(page, "#form") == 1, what="the log-in page")
        assert page.complaints == []


def test_a_viewer_sees_why_the_buttons_do_nothing(serve: Callable[..., PageServer], tmp_path: Path) -> None:
    server = serve(login=True)
    server.take_all(drifting())
    with Browser(find_chromium(), tmp_path / "bob") as page:
        log_in(page, server, "bob")
        wait_for_text(page, "#current-list", "Acknowledge")
        assert "bob may look, not act" in text(page, "#current-reason")
        assert page.ask("document.querySelector('#current-list button').getAttribute('aria-disabled')") == "true"
        page.ask("document.querySelector('#current-list button').click()")
        assert text(page, "#act") == ""
        assert "bob may look" in text(page, "#announcer")
        assert page.complaints == []


def test_who_is_not_logged_in_is_sent_to_log_in_and_back(serve: Callable[..., PageServer], tmp_path: Path) -> None:
    server = serve(login=True)
    server.take_all(drifting())
    with Browser(find_chromium(), tmp_path / "ann") as page:
        log_in(page, server, "ann")
        page.ask(
            "fetch('/api/session').then((answer) => answer.json()).then(({ csrf }) => "
            "fetch('/api/session', { method: 'DELETE', headers: { 'X-CSRF-Token': csrf } }))"
        )
        page.open(server.url + "/#/device/north/pi-1")
        fill_in(page, "ann")
        wait_for_text(page, "#device-title", "pi-1")


def test_a_waiting_device_is_let_in(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve(approve=True)
    page = browse(server.url)
    for device in ("new-1", "new-2"):
        with pytest.raises(Exception, match="approval"):
            server.enrolment.check("north", device, server.clock.now().wall)
    wait_for_text(page, "#waiting-list", "new-2")  # by itself, though no device is heard
    page.ask("document.querySelector('[aria-label=\"Approve new-1, north\"]').click()")
    wait_for(lambda: "new-1" not in text(page, "#waiting-list"), what="it to wait no more")
    page.ask("document.querySelector('[aria-label=\"Reject new-2, north\"]').click()")
    wait_for(lambda: text(page, "#waiting") == "", what="nobody to wait")
    assert {(one.device, one.approved) for one in server.enrolment.decided} == {("new-1", True), ("new-2", False)}
    assert page.complaints == []


def test_what_another_operator_decides_is_shown_though_no_device_speaks(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take(window(1), alert(2), state(DeviceStatus.OFFLINE))
    page = browse(server.url)
    wait_for_text(page, "#current-list", "Mute stream")
    server.decisions.acknowledge(RAISED, who="ben", note="mine")
    wait_for_text(page, "#current-list", "Acknowledged by ben just now: mine")
    page.open(server.url + "/#/audit")
    wait_for_text(page, "#audit-rows", "alert.acknowledge")
    server.decisions.mute(RAISED, who="ben", seconds=60.0, note="")
    wait_for_text(page, "#audit-rows", "alert.mute")
    assert page.complaints == []


def test_on_a_phone_what_the_audit_tells_of_a_change_has_the_width_of_the_page(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.decisions.mute(RAISED, who="ben", seconds=3600.0, note="the lens is being cleaned")
    page = browse(server.url + "/#/audit", width=390)
    wait_for_text(page, "#audit-rows", "alert.mute")
    row, told = (page.ask(f"document.querySelector('#audit-rows {part}').clientWidth") for part in ("tr", "td.aside"))
    assert told > 0.9 * (row - 32)


def test_a_mute_is_shown_on_the_next_alert_of_its_stream_too(
    serve: Callable[..., PageServer], browse: OpenPage
) -> None:
    server = serve()
    server.take(window(1), alert(2), alert(3, revision=1, status=AlertStatus.CLEARED))
    server.decisions.mute(RAISED, who="ben", seconds=3600.0, note="lens")
    server.take(alert(4, number=2))
    page = browse(server.url)
    wait_for_text(page, "#current-list", "Stream muted by ben just now until")
    page.open(server.url + "/#/device/north/pi-1")
    wait_for_text(page, "#view-device .alert.current", "Stream muted by ben")
    assert text(page, "#view-device .alerts").count("Stream muted by ben") == 1
    page.ask("document.querySelector('#view-device [aria-label=\"Unmute the stream pi-1 / belt\"]').click()")
    wait_for(lambda: "muted" not in text(page, "#view-device .alerts"), what="the mute to be taken back")
    assert server.decisions.muted_streams(server.clock.now().wall) == set()
    assert page.complaints == []


def test_ages_go_on_and_a_mute_ends_while_the_page_is_open(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    clock = FakeClock()
    server = serve(clock=clock, approve=True)
    server.enrolment.decide("north", "pi-1", approved=True, who="ann")
    server.take(window(1), alert(2), state(DeviceStatus.OFFLINE))
    server.decisions.acknowledge(RAISED, who="ben", note="")
    server.decisions.mute(RAISED, who="ben", seconds=60.0, note="")
    with pytest.raises(MessageError):
        server.enrolment.check("north", "new", clock.wall)
    page = browse(server.url)
    wait_for_text(page, "#current-list", "Acknowledged by ben just now")
    wait_for_text(page, "#current-list", "Stream muted by ben just now")
    wait_for_text(page, "#waiting-list", "first heard of just now")
    title = "[...document.querySelectorAll('#current-list .deed time')].map((one) => one.title)"
    assert page.ask(title) == [page.ask(f"new Intl.DateTimeFormat('en-GB', {STYLES}).format({1000 * clock.wall})")] * 2
    clock.wall += 120.0
    wait_for_text(page, "#current-list", "Acknowledged by ben 2 min ago")
    wait_for_text(page, "#waiting-list", "first heard of 2 min ago")
    wait_for_text(page, "#current-list", "Mute stream")
    assert "muted" not in text(page, "#current-list")
    page.open(server.url + "/#/device/north/pi-1")
    server.decisions.mute(RAISED, who="ben", seconds=60.0, note="")
    wait_for_text(page, "#view-device .alerts", "Stream muted by ben just now")
    clock.wall += 120.0
    wait_for_text(page, "#view-device .alerts", "Acknowledged by ben 4 min ago")
    wait_for(lambda: "muted" not in text(page, "#view-device .alerts"), what="the mute to end")
    assert page.complaints == []


def test_the_map_of_bundles_leads_to_their_streams(serve: Callable[..., PageServer], browse: OpenPage) -> None:
    server = serve()
    for site, version in (("north", 1), ("north", 1), ("north", 2), ("south", 2)):
        number = len(server.fleet.devices())
        server.take(window(1, site=site, device=f"pi-{number}", bundle=BundleRef(name="digits", version=version)))
    page = browse(server.url + "/#/bundles")
    wait_for_text(page, "#bundles-table", "digits-2")
    page.ask("document.querySelector('[aria-label=\"2 streams at north run digits-1\"]').click()")
    wait_for(lambda: count(page, "#rows tr") == 2, what="the two streams")
    wait_for_text(page, "#filtered", "running digits-1 at north")
    page.ask("document.querySelector('#unfilter').click()")
    wait_for(lambda: count(page, "#rows tr") == 4, what="all streams")
    assert page.complaints == []


# --- how it looks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_every_view_fits_a_phone(serve: Callable[..., PageServer], browse: OpenPage, dark: bool) -> None:
    server = serve()
    server.take_all(drifting(LONG))
    server.take(window(1, site=LONG, device=LONG, stream=LONG, bundle=BundleRef(name=LONG, version=1)))
    page = browse(server.url, width=390, dark=dark)
    wait_for(lambda: count(page, "#rows tr") == 2, what="the rows")
    assert page.ask("document.documentElement.scrollWidth") <= 390
    page.open(f"{server.url}/#/device/north/{LONG}")
    wait_for(lambda: count(page, ".timechart path.line") >= 4, what="the charts")
    wait_for(lambda: count(page, "details.course") == 2, what="the alerts")
    page.ask("document.querySelector('details.course').open = true; document.querySelector('.as-table').open = true")
    wait_for(lambda: count(page, ".revisions tr") > 1, what="the alert's course")
    assert page.ask("document.documentElement.scrollWidth") <= 390
    page.open(f"{server.url}/#/bundles")
    wait_for(lambda: count(page, ".map tr") > 1, what="the map")
    assert page.ask("document.documentElement.scrollWidth") <= 390
    assert page.complaints == []
