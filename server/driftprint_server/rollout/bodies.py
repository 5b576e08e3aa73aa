"""What is asked of rollouts over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from driftprint.topics import Id, StreamName
from driftprint_server.rollout.bundles import parse_id
from driftprint_server.rollout.model import BundleId
from driftprint_server.rollout.orders import Order

# For the API's document; what does not fit is answered with a sentence of our own.
_PERCENT = {"type": "integer", "minimum": 1, "maximum": 100}


def _whole(value: object) -> object:
    """JSON has one kind of number, and to its schema 7.0 is an integer as 7 is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WHOLE = BeforeValidator(_whole)
_NAMED = {"pattern": r"^[A-Za-z0-9_.-]{1,64}-(0|[1-9][0-9]{0,9})$"}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StartBody(_Body):
    """A rollout to be begun. Without site and device it is the whole fleet's."""

    bundle: Annotated[str, Field(max_length=80, json_schema_extra=_NAMED)]
    """Name and version, as in ``parts-2``."""
    stream: StreamName | None = None
    """Only streams of this name, whatever they run; else all that run a bundle of the same name."""
    site: Id | None = None
    device: Id | None = None
    """Unique within its site, so it takes the site too."""
    stages: Annotated[
        list[Annotated[int, _WHOLE]], Field(min_length=1, max_length=20, json_schema_extra={"items": _PERCENT})
    ] = Field(default=[10, 50, 100])
    """Per cent of the devices, ascending."""
    soak_seconds: Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)] = 3600.0
    """How long each stage must have run on all its devices that are online."""

    @field_validator("bundle")
    @classmethod
    def _is_named(cls, bundle: str) -> str:
        _named(bundle)
        return bundle

    @field_validator("stages")
    @classmethod
    def _ascend(cls, stages: list[int]) -> list[int]:
        if not all(1 <= stage <= 100 for stage in stages):
            raise ValueError("must be per cent of the devices, each from 1 to 100")
        if sorted(set(stages)) != stages:
            raise ValueError("must ascend, as in 10, 50, 100")
        return stages

    @model_validator(mode="after")
    def _consistent(self) -> StartBody:
        if self.device is not None and self.site is None:
            raise ValueError("a device is named together with its site")
        return self

    def order(self) -> Order:
        """What is asked for."""
        return Order(_named(self.bundle), self.stream, self.site, self.device, tuple(self.stages), self.soak_seconds)


class RevisionBody(_Body):
    """A change, to a rollout as it was seen."""

    revision: Annotated[int, Field(ge=1, le=2**53), _WHOLE] | None = None
    """Refused where the rollout is at another one by now."""


class StopBody(RevisionBody):
    """To stop a rollout."""

    back: bool = True
    """Whether devices that run its bundle are to go back to what they ran before."""


class WidenBody(RevisionBody):
    """To reach more devices now."""

    percent: Annotated[int, Field(ge=1, le=100), _WHOLE]


def _named(text: str) -> BundleId:
    bundle = parse_id(text)
    if bundle is None:
        raise ValueError(f"{text} is no NAME-VERSION of a bundle, as in parts-2")
    return bundle
