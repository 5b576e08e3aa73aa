import pytest

from driftprint.messages import AlertStatus, DeviceMessage
from driftprint_server.fleet import Fleet
from driftprint_server.history.current import current_in
from driftprint_server.history.decisions import AlertKey
from tests.server.messages import NEW, alert, state, window

RAISED = AlertKey("north", "pi-1", "belt", f"{1:032x}")


def is_current(*messages: DeviceMessage, key: AlertKey = RAISED) -> bool:
    fleet = Fleet(max_devices=10, forget_after_seconds=1e6)
    for message in messages:
        fleet.apply(message, 1_000_000.0)
    return current_in(fleet)(key)


@pytest.mark.parametrize(
    ("what", "later", "expected"),
    [
        ("raised", (), True),
        ("updated", (alert(2, revision=1, status=AlertStatus.UPDATED),), True),
        ("cleared", (alert(2, revision=1, status=AlertStatus.CLEARED),), False),
        ("of a device that was set up anew", (window(1, instance=NEW),), False),
        ("of a stream that is no longer run", (state(streams=("attic",)),), False),
    ],
)
def test_an_alert_is_current_while_it_is_raised(what: str, later: tuple[DeviceMessage, ...], expected: bool) -> None:
    assert is_current(alert(1), *later) is expected, what


@pytest.mark.parametrize(
    "key",
    [
        AlertKey("north", "nobody", "belt", f"{1:032x}"),
        AlertKey("north", "pi-1", "attic", f"{1:032x}"),
        AlertKey("north", "pi-1", "belt", f"{2:032x}"),
    ],
)
def test_what_the_fleet_does_not_know_is_not_current(key: AlertKey) -> None:
    assert not is_current(alert(1), key=key)
