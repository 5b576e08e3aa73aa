"""docs/access.md: its examples are valid."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from driftprint_server.access.cli import users

PAGE = (Path(__file__).parents[3] / "docs/access.md").read_text()


@pytest.mark.parametrize("example", ["prometheus-token", "prometheus-basic"])
def test_promtool_takes_the_examples_for_prometheus(tmp_path: Path, example: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        missing = "promtool is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    text = PAGE.split(f"<!-- {example} -->\n```yaml\n")[1].split("```")[0]
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus", str(tmp_path)))
    for name in set(re.findall(r"/etc/prometheus/(\S+)", text)):
        (tmp_path / name).write_text("there")
    checked = subprocess.run([promtool, "check", "config", config], capture_output=True, check=False, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_commands_on_the_page_exist_and_none_is_missing() -> None:
    group = typer.main.get_command(users)
    commands = group.commands  # type: ignore[attr-defined]
    known = {name: command for name, command in commands.items() if name != "token"}
    known |= {f"token {name}": command for name, command in commands["token"].commands.items()}
    named = set()
    for line in re.findall(r"driftprint users ([^\n#`]+)", PAGE):
        words = line.split()
        name = " ".join(words[: 2 if words[0] == "token" else 1])
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options
        named.add(name)
    assert named == set(known)
