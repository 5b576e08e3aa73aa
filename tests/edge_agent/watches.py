"""What judges a stream's frames in tests, by a few settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driftprint.clock import Clock
from driftprint.scorer import Scorer
from driftprint.stats.site import SiteBaseline
from driftprint_edge.config import AgentSettings
from driftprint_edge.watch import Watch, make_watch

FRAMES_PER_FALSE_ALARM = 1000


def watch_of(
    scorer: Scorer,
    folder: Path,
    clock: Clock,
    *,
    checks: Sequence[str] = (),
    decision: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    site: SiteBaseline | None = None,
    name: str = "belt",
) -> Watch:
    """A stream's watch.

    Args:
        scorer: of its bundle.
        folder: where evidence is kept, in ``evidence``.
        clock: the present.
        checks: the faults of the camera to look for.
        decision: the table ``[stream.decision]``.
        evidence: the table ``[evidence]``.
        site: what was learnt at the stream's site.
        name: the stream's.
    """
    settings = AgentSettings.model_validate(
        {
            "device": "pi-1",
            "store": {"path": folder / "agent.db"},
            "evidence": {"frames": 3, "max_megabytes": 1, **(evidence or {})},
            "stream": [
                {
                    "name": name,
                    "bundle": "a test's",
                    "source": {"path": folder, "frames_per_second": 1},
                    "camera": {"checks": checks},
                    "decision": {"update_seconds": 10_000, "cool_down_seconds": 0, **(decision or {})},
                    "frames_per_false_alarm": FRAMES_PER_FALSE_ALARM,
                }
            ],
        }
    )
    return make_watch(scorer, settings.stream[0], settings, site=site, start=clock.now())
