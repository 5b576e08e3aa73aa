"""``driftprint export`` as it is typed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from driftprint.frames import decode_image
from driftprint.monitor import Monitor
from tests.exporters import models

FACTORY = "from tests.exporters.models import ConvNet\n\ndef build():\n    return ConvNet()\n"
ROOT = Path(__file__).parents[2]


def driftprint(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, run in a folder; tests' own modules can be imported."""
    return subprocess.run(
        [sys.executable, "-m", "driftprint", *map(str, arguments)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: a net, its checkpoint, the same as ONNX, and frames in both forms."""
    folder = tmp_path_factory.mktemp("workplace")
    frames, kinds = models.stripes(500)
    fresh, _ = models.stripes(300, seed=1)
    model = models.trained_net(frames, kinds)
    torch.save(model.state_dict(), folder / "net.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "other.pt")
    onnx.save(models.traced(model).proto, str(folder / "net.onnx"))
    (folder / "net.py").write_text(FACTORY)
    np.savez(folder / "train.npz", x=frames)
    np.savez(folder / "val.npz", x=fresh)
    np.savez(folder / "few.npz", x=models.stripes(10, seed=5)[0])
    np.savez(folder / "noise.npz", x=models.noise(100))
    np.savez(folder / "vectors.npz", x=np.zeros((100, 7), np.float32))
    (folder / "images/deeper").mkdir(parents=True)
    for number, frame in enumerate(frames[:300]):
        Image.fromarray(frame).save(folder / ("images/deeper" if number % 2 else "images") / f"{number:03}.png")
    (folder / "images/broken.png").write_bytes(b"no image")
    (folder / "empty").mkdir()
    (folder / "labels.txt").write_text("lying\nstanding\nslanting\n")
    (folder / "two.txt").write_text("lying\nstanding\n")
    (folder / "broken.onnx").write_bytes(b"no model")
    return folder


def outlier_ratio(folder: Path, bundle: str, frames: str) -> float:
    done = driftprint(folder, "score", bundle, frames, "--out", "scores.csv")
    assert done.returncode == 0, done.stderr
    rows = (folder / "scores.csv").read_text().splitlines()[1:]
    return float(np.mean([row.split(",")[3] == "1" for row in rows]))


def test_an_onnx_model_and_arrays(workplace: Path) -> None:
    done = driftprint(
        workplace, "export", "out/stripes-3.driftprint", "--onnx", "net.onnx", "--inliers", "train.npz",
        "--calibration", "val.npz", "--labels", "labels.txt", "--description", "stripes",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stripes-3" in done.stderr
    manifest = json.loads((workplace / "out/stripes-3.driftprint/manifest.json").read_text())
    assert (manifest["name"], manifest["version"]) == ("stripes", 3)
    assert manifest["labels"] == ["lying", "standing", "slanting"]
    assert (workplace / "out/stripes-3.report.html").exists()
    assert outlier_ratio(workplace, "out/stripes-3.driftprint", "val.npz") < 0.1
    assert outlier_ratio(workplace, "out/stripes-3.driftprint", "noise.npz") > 0.9


def test_a_torch_model_and_a_folder_of_images(workplace: Path) -> None:
    done = driftprint(
        workplace, "export", "images-1.driftprint", "--torch", "net:build", "--checkpoint", "net.pt",
        "--size", "16x16", "-i", "images", "--report", "r.html", "--zip",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 undecodable" in done.stderr
    assert (workplace / "r.html").exists()
    assert (workplace / "images-1.driftprint").is_file(), "zipped"
    reading = Monitor(workplace / "images-1.driftprint")(decode_image(workplace / "images/000.png"))
    assert 0 < reading.p_value <= 1


def test_what_it_prints_without_a_terminal_is_plain_text(workplace: Path) -> None:
    done = driftprint(workplace, "export", "plain-1.driftprint", "--onnx", "net.onnx", "-i", "train.npz")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert done.stdout == ""


ONNX = ("--onnx", "net.onnx")
TRAIN = ("-i", "train.npz")
TORCH = ("--torch", "net:build")

WRONG = {
    "no model": (TRAIN, "--onnx FILE or"),
    "two models": ((*ONNX, *TORCH, *TRAIN), "--onnx FILE or"),
    "checkpoint with onnx": ((*ONNX, "--checkpoint", "net.pt", *TRAIN), "--checkpoint: goes with --torch"),
    "missing onnx": (("--onnx", "none.onnx", *TRAIN), "none.onnx: cannot be read"),
    "broken onnx": (("--onnx", "broken.onnx", *TRAIN), "broken.onnx: not a valid ONNX model"),
    "malformed factory": (("--torch", "net", *TRAIN), "expected the form package.module:function"),
    "missing module": (("--torch", "nothing:build", *TRAIN), "No module named 'nothing'"),
    "missing function": (("--torch", "net:none", *TRAIN), "no attribute 'none'"),
    "no module made": (("--torch", "os:getcwd", *TRAIN), "returned a str, expected a torch.nn.Module"),
    "missing checkpoint": ((*TORCH, "--checkpoint", "none.pt", *TRAIN), "none.pt: cannot be read"),
    "broken checkpoint": ((*TORCH, "--checkpoint", "broken.onnx", *TRAIN), "broken.onnx: no checkpoint"),
    "foreign checkpoint": ((*TORCH, "--checkpoint", "other.pt", *TRAIN), "other.pt: Error(s) in loading state_dict"),
    "missing inliers": ((*ONNX, "-i", "none"), "none: "),
    "empty folder": ((*ONNX, "-i", "empty"), "empty: "),
    "few inliers": ((*ONNX, "-i", "few.npz"), "too few to fit on"),
    "few calibration frames": ((*ONNX, *TRAIN, "-c", "few.npz"), "10 calibration frames are too few"),
    "frames of another kind": (
        (*ONNX, "-i", "vectors.npz"),
        "takes [N, 1, 16, 16] float32, the frames are float32 [7]",
    ),
    "another size": ((*ONNX, *TRAIN, "--size", "32x32"), "is 16x16, not 32x32"),
    "no size": ((*ONNX, *TRAIN, "--size", "big"), "'big' is no size"),
    "wrong preset": ((*ONNX, *TRAIN, "--preset", "best"), "there are unit, raw"),
    "colour preset on grey": ((*ONNX, *TRAIN, "--preset", "imagenet"), "--preset: the imagenet preset is for colour"),
    "wrong colour": ((*ONNX, *TRAIN, "--colour", "rgb"), "--colour: the model's input has 1 channels"),
    "wrong mean": ((*ONNX, *TRAIN, "--mean", "a,b"), "--mean: 'a,b'"),
    "wrong method": ((*ONNX, *TRAIN, "--method", "magic"), "there are gaussian"),
    "wrong task": ((*ONNX, *TRAIN, "--task", "guess"), "there are auto"),
    "wrong layer": ((*ONNX, *TRAIN, "--layer", "none"), "no tensor 'none'"),
    "missing labels": ((*ONNX, *TRAIN, "--labels", "none.txt"), "none.txt: cannot be read"),
    "wrong labels": ((*ONNX, *TRAIN, "--labels", "two.txt"), "no output of shape"),
    "wrong constant": ((*ONNX, *TRAIN, "--constant", "rate"), "expected NAME=VALUE"),
    "unknown constant": ((*ONNX, *TRAIN, "--constant", "rate=1"), "the model has no input 'rate'"),
    "output in a file": ((*ONNX, *TRAIN, "--report", "net.py/report.html"), "cannot be written"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(workplace: Path, case: str) -> None:
    arguments, said = WRONG[case]
    done = driftprint(workplace, "export", "wrong-1.driftprint", *arguments)
    lines = [line for line in done.stderr.splitlines() if not re.match(r"(reading|changing|calibrating)", line)]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert said in lines[0]


@pytest.mark.parametrize("name", ["noversion.driftprint", "name-1.zip", "-1.driftprint"])
def test_a_bundle_is_named_with_its_version(workplace: Path, name: str) -> None:
    done = driftprint(workplace, "export", "--", name)
    assert done.returncode == 2
    done = driftprint(workplace, "export", *ONNX, *TRAIN, "--", name)
    assert done.returncode == 2
    assert "NAME-VERSION.driftprint" in done.stderr
