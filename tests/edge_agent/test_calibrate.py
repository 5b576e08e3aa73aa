"""``driftprint agent --calibrate``: what is learnt is kept for its bundle, on record, and can be taken back."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from driftprint.clock import SystemClock
from driftprint.errors import ConfigError
from driftprint.settings import load_settings
from driftprint.stats.beta import ratio_bound
from driftprint.stats.site import SiteBaseline
from driftprint_edge.agent import Agent
from driftprint_edge.calibrate import parse_duration
from driftprint_edge.config import AgentSettings
from driftprint_edge.opening import open_store
from driftprint_edge.store import Store
from tests.bundles import inlier_frames, make_bundle, outlier_frames
from tests.line.agents import COMMAND


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two cameras of a site where every tenth frame is an outlier, and all is well."""
    make_bundle(tmp_path / "toy-1.driftprint")
    frames = [*inlier_frames(450), *outlier_frames(50)]
    order = np.random.default_rng(0).permutation(len(frames))
    np.savez(tmp_path / "site.npz", x=np.stack([frames[i] for i in order]))
    path = tmp_path / "agent.toml"
    path.write_text(
        f"device = 'pi-1'\n[store]\npath = '{tmp_path}/agent.db'\n"
        + "".join(
            f"[[stream]]\nname = '{name}'\nbundle = '{tmp_path}/toy-1.driftprint'\n"
            f"[stream.source]\npath = '{tmp_path}/site.npz'\nframes_per_second = 100000\nrepeat = false\n"
            for name in ("door", "belt")
        )
    )
    return path


def run(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "-c", str(config), *options], capture_output=True, text=True, timeout=60, check=False
    )


def p0(config: Path) -> float:
    """What the agent would test against."""
    settings = load_settings(config, AgentSettings)
    agent = Agent(settings, clock=SystemClock())
    found = agent._streams["door"].watch.decider.p0
    agent._store.close()
    return found


def test_a_calibration_holds_from_the_next_start_until_it_is_taken_back(config: Path) -> None:
    before = p0(config)
    ended = run(config, "--calibrate", "20s")
    assert ended.returncode == 0, ended.stderr
    door, belt = ended.stdout.splitlines()
    match = re.fullmatch(r"door: (\d+) of (\d+) frames were outliers \(500 seen, every 1\. counts\); .*", door)
    assert match, door
    assert belt.startswith("belt: ")
    outliers, decisions = int(match[1]), int(match[2])
    assert decisions == 500
    assert 50 <= outliers <= 90
    assert p0(config) == ratio_bound(outliers, decisions, 0.99) > before
    assert run(config, "--undo-calibrate").stdout.splitlines() == ["door: taken back", "belt: taken back"]
    assert p0(config) == before
    assert run(config, "--undo-calibrate").stdout.splitlines() == ["door: there was none", "belt: there was none"]


def test_too_short_a_look_is_refused_and_changes_nothing(config: Path) -> None:
    before = p0(config)
    np.savez(config.parent / "site.npz", x=np.stack(list(inlier_frames(20))))
    ended = run(config, "--calibrate", "20s")
    assert ended.returncode == 2
    assert "stream 'door': 20 frames are too few" in ended.stderr
    assert p0(config) == before


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "0s", "10 minutes"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write 90s, 10m or 2h"):
        parse_duration(text)


def learnt(bundle: str, p0: float) -> SiteBaseline:
    return SiteBaseline(bundle=bundle, recorded_at=1.0, frames=100, outliers=3, decisions=100, stride=1, p0=p0)


def test_what_was_learnt_holds_for_its_stream_and_bundle_alone(store: Store) -> None:
    store.keep_baseline("door", learnt("toy-1", 0.1))
    assert store.baseline("door", "toy-1") == learnt("toy-1", 0.1)
    assert store.baseline("door", "toy-2") is None
    assert store.baseline("belt", "toy-1") is None


def test_taking_one_back_brings_the_one_before_it_back(store: Store) -> None:
    store.keep_baseline("door", learnt("toy-1", 0.1))
    store.keep_baseline("door", learnt("toy-1", 0.2))
    assert store.baseline("door", "toy-1") == learnt("toy-1", 0.2)
    assert store.forget_baseline("door") == 1
    assert store.baseline("door", "toy-1") == learnt("toy-1", 0.1)
    assert (store.forget_baseline("door"), store.forget_baseline("door")) == (1, 0)
    assert store.baseline("door", "toy-1") is None


def test_the_store_of_a_running_agent_is_not_touched(config: Path) -> None:
    settings = load_settings(config, AgentSettings)
    running = open_store(settings, SystemClock())
    running.keep_baseline("door", learnt("toy-1", 0.1))
    ended = run(config, "--calibrate", "20s")
    assert ended.returncode == 2
    assert "the store cannot be used" in ended.stderr
    running.close()
