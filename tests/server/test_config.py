from pathlib import Path

import pytest
from pydantic import BaseModel

from driftprint.errors import ConfigError
from driftprint_server.config import ServerSettings, default_store_path, read_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "server.example.toml"


def settings_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= settings_of(field.annotation, f"{name}.")
        else:
            names.add(prefix + name)
    return names


def named_in(text: str) -> set[str]:
    """Settings that a TOML file gives, be they commented out or not."""
    names, table = set(), ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]")
        key, equals, _ = line.removeprefix("# ").partition(" = ")
        if equals and key.isidentifier():
            names.add(f"{table}.{key}")
    return names


def test_the_example_names_every_setting_and_no_other() -> None:
    assert named_in(EXAMPLE.read_text()) == settings_of(ServerSettings)


def test_the_example_loads_and_gives_the_defaults() -> None:
    assert read_settings(EXAMPLE) == ServerSettings()


def test_the_example_is_still_valid_with_everything_set(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    given = [
        line.removeprefix("# ") if line.partition(" = ")[0].removeprefix("# ").isidentifier() else line
        for line in lines
    ]
    everything = tmp_path / "server.toml"
    everything.write_text("\n".join(given))
    read = read_settings(everything)
    assert read.model_fields_set == {"mqtt", "http", "store", "fleet"}
    assert read.mqtt.model_fields_set == set(type(read.mqtt).model_fields)
    assert read.store.model_fields_set == {"path"}


def test_the_store_lies_in_the_service_managers_folder_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/driftprint")
    assert default_store_path() == Path("/var/lib/driftprint/server.db")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert default_store_path() == Path("/home/me/state/driftprint/server.db")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[http]\nport = 99999", "http.port"),
        ("[fleet]\nmax_device = 3", "fleet.max_device: unknown field"),
        ("[fleet]\nforget_after_seconds = 61\nstale_after_seconds = 3600", "forget_after_seconds must be more"),
        ("[mqtt]\nclient_id = 'a/b'", "mqtt.client_id"),
        ("[mqtt", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, complaint: str) -> None:
    config = tmp_path / "server.toml"
    config.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_settings(config)
    assert str(config) in str(raised.value)
    assert complaint in str(raised.value)


def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTPRINT_HTTP__PORT", "none")
    with pytest.raises(ConfigError, match=r"environment: http\.port"):
        read_settings(None)
