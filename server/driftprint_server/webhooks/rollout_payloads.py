"""What becomes of a rollout by itself, as receivers are told it."""

from __future__ import annotations

from driftprint_server.rollout.model import SERVER, Rollout, Step
from driftprint_server.webhooks.payloads import Format, encoded, id_of, structure

_TYPES = {"stop": "rollout.stopped", "hold": "rollout.held"}
"""By what has happened."""
_WORDS = {"stop": "Stopped", "hold": "Held"}


def is_told(step: Step) -> bool:
    """Whether it is news: what operators do they know."""
    return step.who == SERVER and step.action in _TYPES


def rollout_message_id(step: Step) -> str:
    """The same for each attempt to tell it, and for no other, so that receivers can drop what they have."""
    return id_of(f"rollout/{step.rollout}/{step.action}/{step.at!r}")


def rollout_payload(rollout: Rollout, step: Step, form: Format) -> bytes:
    """The body of a request.

    Args:
        rollout: as it is now.
        step: what has happened, as `is_told` takes it.
        form: as in `WebhookSettings.format`.
    """
    data = {
        "rollout": rollout.id,
        "bundle": {"name": rollout.bundle.name, "version": rollout.bundle.version},
        "site": rollout.site,
        "device": rollout.device,
        "stream": rollout.stream,
        "percent": rollout.percent,
        "back": rollout.back,
        "at": step.at,
        "summary": step.detail,
    }
    line = (
        f"{_WORDS[step.action]}: the rollout of {rollout.bundle}, at {rollout.percent} % of the devices: {step.detail}"
    )
    return encoded(structure(_TYPES[step.action], step.at, data), line, form)
