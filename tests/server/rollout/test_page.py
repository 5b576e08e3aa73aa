"""The page of rollouts in a real browser, by keyboard alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from driftprint_server.access.identity import Role
from tests.brokers import wait_for
from tests.server.browser import Browser, find_chromium
from tests.server.rollout.apps import make_app
from tests.server.rollout.fleets import TOY2, Scene

NASTY = "<img src=x onerror=\"document.title='hacked'\">"


@pytest.fixture
def serve(ten: Scene) -> Iterator[Callable[[Role], str]]:
    """Serves the page to somebody in that role; gives its address."""
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(role: Role) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(ten, role), lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread, listener))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/rollouts"

    yield start
    for server, thread, listener in running:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Opens a page, and sees at the end that it had nothing to complain of."""
    browsers: list[Browser] = []

    def open_in(url: str, *, width: int = 1280) -> Browser:
        browsers.append(Browser(find_chromium(), tmp_path / f"profile-{len(browsers)}", width=width))
        browsers[-1].open(url)
        wait_for(lambda: text(browsers[-1], "#link") == "live", what="the page to be live")
        return browsers[-1]

    yield open_in
    for browser in browsers:
        complaints = browser.complaints
        browser.__exit__(None, None, None)
        assert complaints == []


def text(page: Browser, selector: str) -> str:
    return str(page.ask(f"document.querySelector({selector!r})?.innerText ?? ''"))


def press_until(page: Browser, wanted: str) -> None:
    """Go on by Tab until something is in focus."""
    named = "document.activeElement.ariaLabel || document.activeElement.id || document.activeElement.innerText"
    for _ in range(40):
        page.press("Tab")
        if wanted in str(page.ask(named)):
            return
    raise AssertionError(f"Tab does not reach {wanted!r}")


def test_an_operator_starts_and_stops_a_rollout_by_keyboard_alone(
    ten: Scene, serve: Callable[[Role], str], browse: Callable[..., Browser]
) -> None:
    page = browse(serve(Role.OPERATOR))
    press_until(page, "start-bundle")
    page.type("toy-2")
    page.ask("document.querySelector('#start-bundle').value = 'toy-2'")
    press_until(page, "start-do")
    page.press("Enter")
    wait_for(lambda: "Roll toy-2 out?" in text(page, "#sure"), what="the question")
    press_until(page, "sure-do")
    page.press("Enter")
    wait_for(ten.rollouts.all, what="the rollout")
    ten.rollouts.tick()
    wait_for(lambda: "1 told" in text(page, "#rollouts"), what=lambda: text(page, "#rollouts"))

    for device in ten.broker.told():
        ten.fleet.report(device, bundle=TOY2, alarms=1)
    ten.look()
    wait_for(lambda: "1 alarmed" in text(page, "#rollouts"), what=lambda: text(page, "#rollouts"))
    assert "1 alarm in 1,000 frames" in text(page, "#rollouts")

    press_until(page, "Stop and go back: rollout of toy-2")
    page.press("Enter")
    wait_for(lambda: "1 stream that run it go back" in text(page, "#sure"), what=lambda: text(page, "#sure"))
    press_until(page, "sure-do")
    page.press("Enter")
    wait_for(lambda: "Stopped: by ann" in text(page, "#rollouts"), what=lambda: text(page, "#rollouts"))
    (rollout,) = ten.rollouts.all()
    assert rollout.back


def test_one_that_is_held_says_why_and_an_operator_may_leave_one_stopped_that_has_stopped_by_itself(
    ten: Scene, serve: Callable[[Role], str], browse: Callable[..., Browser]
) -> None:
    rollout = ten.start(stages=(10, 50, 100))
    (one,) = ten.broker.told()
    ten.follow()
    ten.fleet.report(one, alarms=1, alarm=True)
    ten.look()
    page = browse(serve(Role.OPERATOR))
    wait_for(lambda: "Held: " in text(page, "#rollouts"), what=lambda: text(page, "#rollouts"))
    assert text(page, ".rollout .reason") == f"Held: north/{one} is in alarm with it"
    assert text(page, ".rollout header .chip") == "held"
    assert "Stage 1 of 3: 10 % of the devices, held" in text(page, "#rollouts")

    ten.fleet.report(one, alarms=3, alarm=True)
    ten.look()
    wait_for(lambda: "Stopped: 4 alarms" in text(page, "#rollouts"), what=lambda: text(page, "#rollouts"))
    press_until(page, "Leave it stopped: rollout of toy-2")
    page.press("Enter")
    wait_for(lambda: "no longer alerted of" in text(page, "#sure"), what=lambda: text(page, "#sure"))
    press_until(page, "sure-do")
    page.press("Enter")
    wait_for(lambda: "Leave it stopped" not in text(page, "#rollouts"), what=lambda: text(page, "#rollouts"))
    assert ten.rollouts.find(rollout).stopped_by == "ann"


def test_what_the_server_refuses_is_shown_in_its_own_sentence(
    ten: Scene, serve: Callable[[Role], str], browse: Callable[..., Browser]
) -> None:
    page = browse(serve(Role.OPERATOR))
    wait_for(lambda: page.ask("document.querySelector('#start-bundle').options.length"), what="the bundles")
    page.ask("document.querySelector('#start-stages').value = '50, 10'")
    page.ask("document.querySelector('#start-do').click()")
    wait_for(lambda: page.ask("document.querySelector('#sure').open"), what="the question")
    page.ask("document.querySelector('#sure-do').click()")
    said = "stages: must ascend, as in 10, 50, 100"
    wait_for(lambda: text(page, "#trouble") == said, what=lambda: text(page, "#trouble"))
    page.ask("""{
        const chosen = new DataTransfer();
        chosen.items.add(new File(["x".repeat(2e6)], "large.driftprint"));
        document.querySelector("#upload-file").files = chosen.files;
        document.querySelector("#upload").requestSubmit();
    }""")
    wait_for(lambda: "larger than 1000000 bytes" in text(page, "#trouble"), what=lambda: text(page, "#trouble"))
    assert not ten.rollouts.all()
    assert all("422" in said or "413" in said for said in page.complaints)
    page.complaints.clear()  # a browser tells its console of every refusal


def test_a_question_that_is_left_changes_nothing(
    ten: Scene, serve: Callable[[Role], str], browse: Callable[..., Browser]
) -> None:
    ten.start()
    page = browse(serve(Role.OPERATOR))
    wait_for(lambda: "3 told" in text(page, "#rollouts"), what="the rollout")
    press_until(page, "Stop and go back")
    page.press("Enter")
    page.press("Escape")
    wait_for(lambda: not page.ask("document.querySelector('#sure').open"), what="the question to be gone")
    assert ten.rollouts.all()[0].holds


def test_what_devices_say_is_shown_as_text_and_fits_a_phone(
    ten: Scene, serve: Callable[[Role], str], browse: Callable[..., Browser]
) -> None:
    ten.start()
    ten.look()
    ten.fleet.report(sorted(ten.broker.told())[0], error=NASTY)
    ten.look()
    page = browse(serve(Role.OPERATOR), width=390)
    wait_for(lambda: "3 told" in text(page, "#rollouts"), what="the rollout")
    page.ask("document.querySelector('summary').click()")
    wait_for(lambda: NASTY in text(page, "#rollouts"), what=lambda: text(page, "#rollouts"))
    assert "hacked" not in str(page.ask("document.title"))
    assert page.ask("document.documentElement.scrollWidth <= 390")


def test_earlier_rollouts_are_short_and_few_and_offer_nothing_that_would_be_refused(
    ten: Scene, serve: Callable[[Role], str], browse: Callable[..., Browser]
) -> None:
    for _ in range(12):
        ten.rollouts.stop(ten.start(), "ann", back=False)
    page = browse(serve(Role.OPERATOR))
    wait_for(lambda: page.ask("document.querySelectorAll('.rollout').length") == 10, what="the latest ten")
    assert page.ask("[...document.querySelectorAll('#rollouts .buttons')].map((each) => each.innerText).join()") == (
        "Resume" + 9 * ","
    )
    assert page.ask("[...document.querySelectorAll('.measures')].filter((each) => each.checkVisibility()).length") == 1
    page.ask("document.querySelectorAll('summary')[1].click()")
    wait_for(
        lambda: "stop, devices stay as they are" in text(page, ".rollout:nth-child(2)"), what="an earlier one's history"
    )
    assert text(page, "#rollouts-more") == "Show 2 earlier"
    press_until(page, "rollouts-more")
    page.press("Enter")
    wait_for(lambda: page.ask("document.querySelectorAll('.rollout').length") == 12, what="all of them")


def test_a_viewer_sees_it_all_and_is_told_why_nothing_can_be_done(
    ten: Scene, serve: Callable[[Role], str], browse: Callable[..., Browser]
) -> None:
    ten.start()
    page = browse(serve(Role.VIEWER))
    wait_for(lambda: "3 told" in text(page, "#rollouts"), what="the rollout")
    assert page.ask("[...document.querySelectorAll('#rollouts button')].map((each) => each.ariaDisabled).join()") == (
        "true,true,true"
    )
    assert "this is for operators" in text(page, "#start-reason")
    press_until(page, "Stop and go back")
    page.press("Enter")
    wait_for(lambda: "may look, not act" in text(page, "#announcer"), what="the reason")
    assert ten.rollouts.all()[0].holds
