"""Which alerts on record are raised still, by what is known of their devices now."""

from __future__ import annotations

from collections.abc import Callable

from driftprint_server.fleet import Fleet
from driftprint_server.history.decisions import AlertKey
from driftprint_server.views import is_current


def current_in(fleet: Fleet) -> Callable[[AlertKey], bool]:
    """Tells of an alert whether it is raised still; of a device that `fleet` does not know none is."""

    def current(key: AlertKey) -> bool:
        device = fleet.device(key.site, key.device)
        stream = device.streams.get(key.stream) if device is not None else None
        alert = stream.alerts.get(key.alert_id) if stream is not None else None
        return device is not None and stream is not None and alert is not None and is_current(device, stream, alert)

    return current
