from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftprint_server.access.settings import AccessSettings
from tests.server.access.site import Site


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Serves the application with other settings, or over TLS."""
    sites: list[Site] = []

    def make(settings: AccessSettings | None = None, **others: Any) -> Site:
        sites.append(Site(tmp_path, settings, **others))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """The application, served with the usual settings."""
    return make_site()
