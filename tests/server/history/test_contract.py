from driftprint_server.sinks import Accepted
from tests.server.history.contract import check_contract
from tests.server.history.messages import window
from tests.server.history.site import Site
from tests.server.messages import alert


def test_the_api_does_what_its_openapi_document_says(site: Site) -> None:
    now = site.clock.wall
    site.history.write([Accepted(window(i), now - i) for i in range(50)])
    site.history.write([Accepted(alert(100 + i, number=i), now - i) for i in range(5)])
    known = {"alert_id": f"{1:032x}", "number": "0"}
    assert check_contract(site.app, paths="^/api/", known=known) == 13
