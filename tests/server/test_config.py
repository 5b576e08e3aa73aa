from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from driftprint.errors import ConfigError
from driftprint_server.config import ServerSettings, default_store_path, read_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "server.example.toml"
LISTS = {"remote_write", "webhook"}
"""The tables of which there may be any number; the example has them commented out."""


def table_of(annotation: object) -> type[BaseModel] | None:
    """The model of a table, or of each table of a list; None for a plain setting."""
    kinds = get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def settings_of(model: type[BaseModel]) -> set[str]:
    tables = {name: table_of(field.annotation) for name, field in model.model_fields.items()}
    return {f"{name}.{setting}" for name, table in tables.items() if table for setting in table.model_fields}


def is_setting(line: str) -> bool:
    """Whether a line without its mark of a comment is a setting or the head of a table."""
    return line.partition(" = ")[0].isidentifier() if " = " in line else line.startswith("[")


def named_in(text: str) -> set[str]:
    """Settings that a TOML file gives, be they commented out or not."""
    names, table = set(), ""
    for line in text.splitlines():
        given = line.removeprefix("# ")
        if given.startswith("["):
            table = given.strip("[]")
        elif is_setting(given):
            names.add(f"{table}.{given.partition(' = ')[0]}")
    return names


def test_the_example_names_every_setting_and_no_other() -> None:
    assert named_in(EXAMPLE.read_text()) == settings_of(ServerSettings)


def test_the_example_loads_and_gives_the_defaults() -> None:
    assert read_settings(EXAMPLE) == ServerSettings()


def everything_set(folder: Path) -> ServerSettings:
    """The example's settings, with what is commented out as well."""
    lines = EXAMPLE.read_text().splitlines()
    given = [bare if is_setting(bare := line.removeprefix("# ")) else line for line in lines]
    everything = folder / "server.toml"
    everything.write_text("\n".join(given))
    return read_settings(everything)


def test_the_example_is_still_valid_with_everything_set(tmp_path: Path) -> None:
    read = everything_set(tmp_path)
    assert read.model_fields_set == set(ServerSettings.model_fields)
    for name in read.model_fields_set - LISTS:
        table = getattr(read, name)
        assert table.model_fields_set == set(type(table).model_fields)


def test_the_examples_commented_tables_show_the_defaults(tmp_path: Path) -> None:
    read = everything_set(tmp_path)
    for table in (*read.remote_write, *read.webhook):
        for name in table.model_fields_set:
            default = type(table).model_fields[name].default
            if isinstance(default, (bool, int, float, str, tuple)):
                assert getattr(table, name) == default


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
        ("[mqtt]\nshare = 'ingest'", "mqtt.share needs remote_write"),
        ("[http]\ncert_file = 'fleet.pem'", "cert_file and key_file go together"),
        ("[enrolment]\ndevices = ['north/*']", 'mode must be "list" or "approve"'),
        ("[[remote_write]]\nurl = 'http://a/x'\n[[remote_write]]\nurl = 'http://a/y'", "two targets have one host"),
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
