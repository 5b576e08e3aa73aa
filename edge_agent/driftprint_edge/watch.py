"""All that judges a stream's frames by one bundle."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from driftprint.bundle import Bundle
from driftprint.clock import Instant
from driftprint.decision import Decider
from driftprint.manifest import ImageInput
from driftprint.messages import BundleRef
from driftprint.mix_decider import MixDecider
from driftprint.scorer import Scorer
from driftprint.stats.site import SiteBaseline
from driftprint_edge.camera import CameraWatch, Normal, look
from driftprint_edge.config import AgentSettings, StreamSettings
from driftprint_edge.evidence import SUSPICION, Evidence, EvidenceFolder
from driftprint_edge.explain import Explainer


@dataclass(frozen=True, slots=True)
class Watch:
    """What judges a stream's frames.

    Attributes:
        scorer: gives scores.
        decider: judges the scores.
        mix: judges the predicted classes; None where they are not watched.
        camera: judges the frames.
        explainer: says why there is an alert.
        evidence: keeps the most outlying frames.
    """

    scorer: Scorer
    decider: Decider
    mix: MixDecider | None
    camera: CameraWatch
    explainer: Explainer
    evidence: Evidence

    @property
    def bundle(self) -> BundleRef:
        """Which bundle this is."""
        return bundle_ref(self.scorer)


def load_scorer(bundle: Bundle, stream: StreamSettings) -> Scorer:
    """Load a bundle, which replays its golden frames.

    Raises:
        BundleError: where the bundle cannot be used.
        ConfigError: where none of the stream's execution providers is here.
    """
    return Scorer(bundle, threads=stream.threads, providers=stream.providers, memory_arena=stream.memory_arena)


def make_watch(
    scorer: Scorer, stream: StreamSettings, settings: AgentSettings, *, site: SiteBaseline | None, start: Instant
) -> Watch:
    """What judges a stream's frames by a bundle.

    Args:
        scorer: of the bundle.
        stream: whose frames.
        settings: agent.toml.
        site: what was learnt at the stream's site for this bundle.
        start: the present.

    Raises:
        ConfigError: where the settings do not go with the bundle.
    """
    normal_mix = site.mix if site is not None and stream.decision.class_mix else None
    # What the device may spend on false alarms is shared by all that may raise one.
    budget = settings.frames_per_false_alarm(stream) * (1 if normal_mix is None else 2)
    decider = Decider(
        stream.decision, calibration_size=len(scorer.calibration), frames_per_false_alarm=budget, site=site
    )
    mix = None
    if normal_mix is not None:
        mix = MixDecider(
            normal_mix, stream.decision, frames_per_false_alarm=budget, window=decider.by_count, new_id=new_alert_id
        )
    layers = scorer.manifest.fingerprint.layers
    return Watch(
        scorer=scorer,
        decider=decider,
        mix=mix,
        camera=CameraWatch(
            stream.camera_checks,
            hold_seconds=stream.camera.hold_seconds,
            missing_seconds=stream.camera.missing_seconds,
            normal=_normal(scorer) if stream.camera_checks else None,
            start=start,
            new_id=new_alert_id,
        ),
        explainer=Explainer(
            layers, alpha=stream.decision.alpha, frames=stream.decision.window_frames, suspicion=SUSPICION
        ),
        evidence=Evidence(
            stream.name,
            bundle=bundle_ref(scorer),
            layers=layers,
            folder=EvidenceFolder(settings.evidence_path, int(settings.evidence.max_megabytes * 1e6)),
            frames=settings.evidence.frames,
            thumbnail_pixels=settings.evidence.thumbnail_pixels,
        ),
    )


def bundle_ref(scorer: Scorer) -> BundleRef:
    """The bundle that it scores with."""
    return BundleRef(name=scorer.manifest.name, version=scorer.manifest.version)


def new_alert_id() -> str:
    """An alert's id."""
    return secrets.token_hex(16)


def _normal(scorer: Scorer) -> Normal | None:
    """What a working camera's frames look like, by the golden frames; None where these are no pictures."""
    if not isinstance(scorer.manifest.input, ImageInput):
        return None
    return Normal.of([look(frame, scorer.prepare(frame)) for frame in scorer.golden_frames])
