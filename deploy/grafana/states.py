"""Whether a device is up, when it was last seen: asked so that scraped and written metrics both have an answer.

A server that is scraped says so for as long as it knows the device. Replicas write while a device speaks, and nobody
writes that it does not (docs/scaling.md): what they have written last holds for a day, and who has not been seen for
two minutes is down, as in the rules. What they have written has no job.

Arguments are matchers of labels, such as ``site="north"``; none for all devices.
"""

from __future__ import annotations

DEVICE = "site, device"
SCRAPED, WRITTEN = 'job!=""', 'job=""'
UP, LAST_SEEN = "driftprint_device_up", "driftprint_last_seen_timestamp_seconds"
SILENT_SECONDS = 120


def held(metric: str, by: str, matchers: str = "") -> str:
    """The highest value of a gauge.

    Args:
        metric: its name.
        by: the labels that are kept.
        matchers: of labels.
    """
    return f"({_scraped(metric, by, matchers)} or {_written(metric, by, matchers)})"


def last_seen(matchers: str = "") -> str:
    """Unix time, by site and device."""
    return held(LAST_SEEN, DEVICE, matchers)


def up(matchers: str = "") -> str:
    """1 or 0, by site and device."""
    scraped, written = _scraped(UP, DEVICE, matchers), _written(UP, DEVICE, matchers)
    silent = f"time() - {_written(LAST_SEEN, DEVICE, matchers)} > {SILENT_SECONDS}"
    return f"({scraped} or 0 * ({silent}) or {written})"


def devices_by_state() -> str:
    """How many, by state, in the server's words: offline is who said goodbye, stale who just stopped."""
    said, silent_for = _written(UP, DEVICE), f"time() - {_written(LAST_SEEN, DEVICE)}"
    counted = {
        "online": f"{said} == 1 and {silent_for} <= {SILENT_SECONDS}",
        "stale": f"{said} == 1 and {silent_for} > {SILENT_SECONDS}",
        "offline": f"{said} == 0",
    }
    states = [f'label_replace(count({devices}), "state", "{state}", "", "")' for state, devices in counted.items()]
    return " or ".join(["max by (state) (driftprint_server_devices)", *states])


def _scraped(metric: str, by: str, matchers: str = "") -> str:
    return f"max by ({by}) ({metric}{_selector(matchers, SCRAPED)})"


def _written(metric: str, by: str, matchers: str = "") -> str:
    return f"max by ({by}) (last_over_time({metric}{_selector(matchers, WRITTEN)}[1d]))"


def _selector(*matchers: str) -> str:
    return f"{{{', '.join(filter(None, matchers))}}}"
