"""Reading a TOML configuration file into a typed model, with the environment over it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from driftprint.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Settings(BaseSettings):
    """Base of the configuration files' models.

    Every field can also be set by an environment variable, which wins over the file:
    ``DRIFTPRINT_MQTT__PASSWORD`` sets ``password`` in the table ``[mqtt]``.
    """

    model_config = SettingsConfigDict(
        env_prefix="DRIFTPRINT_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file; nothing else is read."""
        return env_settings, init_settings


def state_folder() -> Path:
    """Where a service keeps its state: systemd's folder for it, else the user's."""
    if folder := os.environ.get("STATE_DIRECTORY"):
        return Path(folder.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "driftprint"


S = TypeVar("S", bound=Settings)


def load_settings(path: Path, model: type[S]) -> S:
    """Read `path` into `model`.

    Raises:
        ConfigError: naming the file and the first wrong field, and what was expected there.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror or error})", where=str(path), fix="check the path given with --config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(path)) from None
    try:
        return model(**table)
    except ValidationError as error:
        raise ConfigError(explain(error), where=str(path)) from None


def explain(error: ValidationError) -> str:
    """The first complaint of a validation error as ``field: what was expected, got ...``, and how many more."""
    complaints = error.errors(include_url=False)
    # A list of tables of which one is wrong is said to be too short as well.
    complaints = [one for one in complaints if one["type"] != "too_short"] or complaints
    first = complaints[0]
    # Which of several kinds of table was meant stands in parentheses; it is no field.
    field = ".".join(str(part) for part in first["loc"] if not str(part).startswith("(")) or "file"
    if first["type"] == "extra_forbidden":
        message = "unknown field"
    elif first["type"] == "missing":
        message = "missing"
    else:
        message = f"{first['msg'].removeprefix('Value error, ')}, got {_shortened(first['input'])}"
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return f"{field}: {message}{more}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
