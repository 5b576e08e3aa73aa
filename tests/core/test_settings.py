from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from driftprint.errors import ConfigError
from driftprint.mqtt import MqttSettings
from driftprint.settings import Settings, load_settings


class Lamp(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    watts: Annotated[int, Field(ge=1)]


class House(Settings):
    name: str = "home"
    floors: Annotated[int, Field(ge=1)] = 1
    mqtt: MqttSettings = MqttSettings()
    lamp: tuple[Lamp, ...] = ()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "house.toml"


def refusal(config: Path) -> str:
    with pytest.raises(ConfigError) as error:
        load_settings(config, House)
    line = str(error.value)
    assert line.startswith(f"{config}: ")
    assert "\n" not in line
    return line.removeprefix(f"{config}: ")


def test_an_empty_file_gives_the_defaults(config: Path) -> None:
    config.write_text("")

    assert load_settings(config, House) == House()


def test_tables_are_read(config: Path) -> None:
    config.write_text('name = "hut"\n[mqtt]\nport = 8883\n[[lamp]]\nwatts = 5\n[[lamp]]\nwatts = 7\n')

    house = load_settings(config, House)

    assert (house.name, house.mqtt.port, [lamp.watts for lamp in house.lamp]) == ("hut", 8883, [5, 7])
    assert house.mqtt.host == "localhost"


def test_the_environment_wins_over_the_file_field_by_field(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('name = "hut"\nfloors = 2\n[mqtt]\nhost = "broker"\nport = 8883\n')
    monkeypatch.setenv("DRIFTPRINT_FLOORS", "3")
    monkeypatch.setenv("DRIFTPRINT_MQTT__USERNAME", "pi")
    monkeypatch.setenv("DRIFTPRINT_MQTT__PASSWORD", "secret")

    house = load_settings(config, House)

    assert (house.name, house.floors, house.mqtt.host, house.mqtt.port) == ("hut", 3, "broker", 8883)
    assert house.mqtt.password is not None
    assert house.mqtt.password.get_secret_value() == "secret"
    assert "secret" not in repr(house)


def test_a_wrong_value_in_the_environment_names_the_field(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("")
    monkeypatch.setenv("DRIFTPRINT_FLOORS", "many")

    assert refusal(config).startswith("floors: ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("flors = 2", "flors: unknown field"),
        ("[mqtt]\nprot = 1", "mqtt.prot: unknown field"),
        ("[mqtt]\nport = 70000", "mqtt.port: Input should be less than or equal to 65535, got 70000"),
        ("[[lamp]]\n", "lamp.0.watts: missing"),
        ("[[lamp]]\nwatts = 5\n[[lamp]]\nwatts = 0", "lamp.1.watts: Input should be greater"),
        ('floors = "many"', "floors: Input should be a valid integer"),
        ("lamp = 3", "lamp: "),
        ('[mqtt]\npassword = "x"', "mqtt: password needs username"),
        ("a = 1\nb = 2", "a: unknown field (and 1 more)"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(config: Path, text: str, complaint: str) -> None:
    config.write_text(text)

    assert refusal(config).startswith(complaint)


def test_broken_toml_names_the_line(config: Path) -> None:
    config.write_text('name = "hut"\nfloors = = 2\n')

    line = refusal(config)

    assert line.startswith("not valid TOML: ")
    assert "line 2" in line


def test_what_is_no_text_is_refused(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")

    assert refusal(config).startswith("not valid TOML: ")


def test_a_missing_file_is_named(config: Path) -> None:
    assert refusal(config).startswith("cannot be read (No such file or directory); check the path")


def test_a_long_wrong_value_is_shortened(config: Path) -> None:
    config.write_text(f'floors = "{"x" * 5000}"')

    assert len(refusal(config)) < 200
