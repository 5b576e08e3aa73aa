"""The log-in page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.staticfiles import StaticFiles

from driftprint_server.web import STATIC
from tests.brokers import wait_for
from tests.server.access.site import ANN, Site
from tests.server.browser import Browser, find_chromium

OpenPage = Callable[..., Browser]


@pytest.fixture
def page_site(make_site: Callable[..., Site]) -> Site:
    return make_site(static=StaticFiles(directory=STATIC))


@pytest.fixture
def open_page(page_site: Site, tmp_path: Path) -> Iterator[OpenPage]:
    browsers: list[Browser] = []

    def open_at(path: str, *, width: int = 1280, dark: bool = False) -> Browser:
        browser = Browser(find_chromium(), tmp_path / f"profile-{len(browsers)}", width=width, dark=dark)
        browsers.append(browser)
        browser.open(page_site.url + path)
        wait_for(
            lambda: browser.ask("document.readyState === 'complete' && !!document.querySelector('form')"), what="it"
        )
        return browser

    yield open_at
    for browser in browsers:
        browser.__exit__(None, None, None)


def log_in(page: Browser, name: str, password: str) -> None:
    """As a person does who types and presses enter."""
    page.ask(
        f"document.getElementById('name').value = {json.dumps(name)};"
        f"document.getElementById('password').value = {json.dumps(password)};"
        "document.getElementById('form').requestSubmit()"
    )


def test_who_logs_in_goes_where_they_wanted(open_page: OpenPage) -> None:
    page = open_page("/?site=north#device")
    assert page.ask("location.pathname") == "/login"
    log_in(page, ANN["name"], ANN["password"])
    wait_for(
        lambda: page.ask("location.pathname + location.search + location.hash") == "/?site=north#device", what="it"
    )
    wait_for(lambda: page.ask("document.body?.innerText") == '"the page"', what="the page")
    assert page.ask("document.cookie") == ""


def test_a_wrong_password_is_said_aloud_and_the_field_is_ready_for_another(open_page: OpenPage) -> None:
    page = open_page("/login")
    log_in(page, "ann", "incorrect horse")
    said = "document.getElementById('problem').innerText"
    wait_for(lambda: "driftprint users password NAME" in page.ask(said), what=lambda: str(page.ask(said)))
    assert page.ask("document.getElementById('problem').getAttribute('role')") == "alert"
    wait_for(lambda: page.ask("document.activeElement.id") == "password", what="the focus")
    log_in(page, ANN["name"], ANN["password"])
    wait_for(lambda: page.ask("location.pathname") == "/", what="the page")


@pytest.mark.parametrize(
    "next", ["//evil.example/", "https://evil.example/", "javascript:alert(1)", "/%5Cevil.example"]
)
def test_it_leads_to_no_other_site(page_site: Site, open_page: OpenPage, next: str) -> None:
    page = open_page(f"/login?next={next}")
    log_in(page, ANN["name"], ANN["password"])
    wait_for(lambda: page.ask("location.pathname") == "/", what="the page")
    assert page.ask("location.origin") == page_site.url


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_in_the_colours_that_are_preferred(open_page: OpenPage, dark: bool, tmp_path: Path) -> None:
    page = open_page("/login", width=390, dark=dark)
    assert page.ask("document.documentElement.scrollWidth") == 390
    assert page.ask("document.activeElement.id") == "name"
    brightness = page.ask("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0] | 0")
    assert (brightness < 128) is dark
    assert page.ask("document.querySelector('details').open = true, document.documentElement.scrollWidth") == 390
    page.picture(tmp_path / "login.png", whole=True)


def test_everything_on_it_is_reached_by_keyboard_in_order(open_page: OpenPage) -> None:
    page = open_page("/login")
    order = (
        "[...document.querySelectorAll('input, button, summary, a')]"
        ".filter(one => one.tabIndex === 0 && one.checkVisibility()).map(one => one.id || one.tagName)"
    )
    assert page.ask(order) == ["name", "password", "button", "SUMMARY"]
    labelled = "[...document.querySelectorAll('input')].every(one => one.labels.length === 1)"
    assert page.ask(labelled) is True
