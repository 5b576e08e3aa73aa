"""Which bundle a stream runs: the one that agent.toml names, or one that took its place since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

MOST_STARTS = 3
"""An agent that has started so often with a new bundle, and never kept running, goes back to the one before."""

_MOST_REMEMBERED = 20


class BundleChoice(BaseModel):
    """A bundle that runs in place of the one that agent.toml names, for as long as it names that one."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    configured: str
    """What agent.toml named when this was chosen."""
    bundle: str
    """Its path, or a reference bundle's name."""
    bundle_id: str
    """Name and version."""
    previous: str
    """What ran before it."""
    confirmed: bool = False
    """Whether it has run for a while."""
    starts: int = 0
    """Starts of the agent since it was chosen, until it is confirmed."""
    ran: tuple[str, ...] = ()
    """Bundles, by name and version, that ran before it, in place of the same one: the ways back."""
    refused: tuple[str, ...] = ()
    """Bundles, by name and version, that were gone back from since they did not run; they are not taken again."""

    def back(self) -> BundleChoice:
        """The one before it instead: one step, there is no second. This one is not taken again."""
        refused = (*self.refused, self.bundle_id)[-_MOST_REMEMBERED:]
        return self.model_copy(
            update={"bundle": self.previous, "bundle_id": "", "confirmed": True, "starts": 0, "refused": refused}
        )


def ran(choice: BundleChoice | None, current_id: str) -> tuple[str, ...]:
    """What has run, once another bundle takes the place of the current one.

    Args:
        choice: by which the current one runs; None where agent.toml names it.
        current_id: its name and version.
    """
    before = () if choice is None else choice.ran
    return (*(each for each in before if each != current_id), current_id)[-_MOST_REMEMBERED:]


class Choices(Protocol):
    """What is needed of the store."""

    def choice(self, stream: str) -> BundleChoice | None:
        """A stream's, if there is one."""
        ...

    def choose(self, stream: str, choice: BundleChoice | None) -> None:
        """Keep it; None forgets it."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """What a stream is started with.

    Attributes:
        bundle: a path, or a reference bundle's name.
        went_back: why it is the one before; empty where it is not.
    """

    bundle: str
    went_back: str = ""


def bundle_at_start(stream: str, configured: str, choices: Choices) -> Start:
    """What to start a stream with. Starts are counted, so that a bundle with which none lasts is left.

    Args:
        stream: its name.
        configured: the bundle that agent.toml names.
        choices: what has been chosen since.

    Raises:
        StoreError: where the disk refuses.
    """
    choice = choices.choice(stream)
    if choice is None:
        return Start(configured)
    if choice.configured != configured:
        choices.choose(stream, None)
        return Start(configured)
    if choice.confirmed:
        return Start(choice.bundle)
    if choice.starts >= MOST_STARTS:
        return go_back(stream, configured, choices, f"{choice.bundle_id}: the agent has not kept running with it")
    choices.choose(stream, choice.model_copy(update={"starts": choice.starts + 1}))
    return Start(choice.bundle)


def go_back(stream: str, configured: str, choices: Choices, why: str) -> Start:
    """Start with the bundle before the chosen one, which is not taken again.

    Raises:
        StoreError: where the disk refuses.
    """
    choice = choices.choice(stream)
    if choice is None or choice.bundle == choice.previous:
        return Start(configured, why)
    before = choice.back()
    choices.choose(stream, before)
    return Start(before.bundle, why)
