import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftprint.version import VERSION
from tests.bundles import inlier_frames, make_bundle, outlier_frames

# The same as the console script, wherever that may have been installed.
COMMAND = (sys.executable, "-c", "from driftprint.cli import main; main()")


def driftprint(*arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=60)


def succeed(*arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    done = driftprint(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def refusal(*arguments: str | Path) -> str:
    """The one line with which a command ends."""
    done = driftprint(*arguments)
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("driftprint: ")
    return line


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """30 inliers, then 10 outliers."""
    path = tmp_path / "frames.npz"
    np.savez(path, x=np.concatenate([inlier_frames(30), outlier_frames(10)]))
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_score_writes_a_table_and_tells_the_share_of_outliers(intact_toy: Path, frames: Path, tmp_path: Path) -> None:
    done = succeed("score", intact_toy, frames, "--out", tmp_path / "scores.csv")

    text = (tmp_path / "scores.csv").read_text()
    assert text.splitlines()[0] == "frame,score,p_value,outlier,predicted"
    rows = rows_of(text)
    assert [row["frame"] for row in rows] == [str(i) for i in range(40)]
    x = np.load(frames)["x"]
    assert [float(row["score"]) for row in rows] == pytest.approx(x.mean(axis=(1, 2)) / 255, abs=1e-5)
    assert all(row["outlier"] == str(int(float(row["p_value"]) <= 0.05)) for row in rows)
    assert [row["outlier"] for row in rows[30:]] == ["1"] * 10
    assert [row["p_value"] for row in rows[30:]] == ["0.000999001"] * 10
    assert {row["predicted"] for row in rows} == {"dark", "dim", "light", "bright"}
    outliers = sum(row["outlier"] == "1" for row in rows)
    assert f"toy-1: outlier ratio {outliers / 40:.3f} of 40 frames at alpha 0.05" in done.stderr
    assert done.stdout == ""


def test_score_to_standard_output_writes_nothing_else_there(intact_toy: Path, frames: Path, tmp_path: Path) -> None:
    done = succeed("score", intact_toy, frames, "--out", "-", cwd=tmp_path)
    succeed("score", intact_toy, frames, "--out", tmp_path / "scores.csv")

    assert rows_of(done.stdout) == rows_of((tmp_path / "scores.csv").read_text())
    assert not (tmp_path / "-").exists()


def test_score_takes_another_alpha(intact_toy: Path, frames: Path) -> None:
    done = succeed("score", intact_toy, frames, "--alpha", "0.5", "--out", "-")

    assert all((row["outlier"] == "1") == (float(row["p_value"]) <= 0.5) for row in rows_of(done.stdout))


def test_score_draws_a_picture(intact_toy: Path, frames: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    succeed("score", intact_toy, frames, "--plot", tmp_path / "scores.png")

    with Image.open(tmp_path / "scores.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 400


def test_score_counts_images_that_cannot_be_decoded_as_faults(intact_toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(inlier_frames(3)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "1.png").write_bytes(b"broken")

    done = succeed("score", intact_toy, folder, "--out", "-")

    assert [row["frame"] for row in rows_of(done.stdout)] == ["0.png", "2.png"]
    assert "1.png: not an image" in done.stderr
    assert "of 2 frames" in done.stderr
    assert "1 could not be scored" in done.stderr


def test_score_of_a_model_without_classes_predicts_nothing(tmp_path: Path, frames: Path) -> None:
    done = succeed("score", make_bundle(tmp_path / "b", classes=None, zipped=True), frames, "--out", "-")

    assert {row["predicted"] for row in rows_of(done.stdout)} == {""}


def test_score_knows_the_reference_bundles_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "noise.npz", x=np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8))

    done = succeed("score", "digits", tmp_path / "noise.npz", "--out", "-")

    assert [row["outlier"] for row in rows_of(done.stdout)] == ["1"] * 5


def test_score_without_any_frame_it_can_score_is_refused(intact_toy: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "frames.npz", x=np.zeros((3, 8, 8), np.float32))

    done = driftprint("score", intact_toy, tmp_path / "frames.npz")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("frames.npz: none of the frames can be scored")


def test_wrong_frames_are_named(intact_toy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    np.savez(tmp_path / "nox.npz", y=np.zeros((2, 3)))

    assert f"{tmp_path / 'nowhere'}: no such file or folder" in refusal("score", intact_toy, tmp_path / "nowhere")
    assert f"{tmp_path / 'empty'}: no images" in refusal("score", intact_toy, tmp_path / "empty")
    assert f"{tmp_path / 'broken.npz'}: not a readable" in refusal("score", intact_toy, tmp_path / "broken.npz")
    assert f"{tmp_path / 'nox.npz'}: has no array 'x'" in refusal("score", intact_toy, tmp_path / "nox.npz")


def test_wrong_bundles_are_named(toy: Path, tmp_path: Path, frames: Path) -> None:
    shifted = make_bundle(tmp_path / "shifted", golden_shift=0.1)
    small = make_bundle(tmp_path / "small", calibration=[0.2, 0.3])
    (toy / "model.onnx").write_bytes(b"other")

    assert "nothing: no such bundle; give a path, or a reference bundle (digits-1)" in refusal(
        "score", "nothing", frames
    )
    assert f"{toy}/model.onnx: does not match the checksum" in refusal("score", toy, frames)
    assert f"{frames}: has no manifest.json" in refusal("score", frames, frames)
    assert "golden frame 0 scores 0.2, the exporter saw 0.3" in refusal("score", shifted, frames)
    assert "--alpha: 2 calibration scores cannot tell" in refusal("score", small, frames)


def test_a_place_that_cannot_be_written_is_named(intact_toy: Path, frames: Path, tmp_path: Path) -> None:
    assert f"{tmp_path}: cannot be written (Is a directory)" in refusal("score", intact_toy, frames, "--out", tmp_path)


def test_a_picture_that_cannot_be_drawn_is_named(intact_toy: Path, frames: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    for picture in (tmp_path / "no" / "scores.png", tmp_path / "scores.xyz"):
        assert f"{picture}: cannot be drawn" in refusal("score", intact_toy, frames, "--plot", picture)


def test_bundle_list_shows_the_reference_bundles() -> None:
    assert "digits" in succeed("bundle", "list").stdout


def test_bundle_list_as_json() -> None:
    rows = json.loads(succeed("bundle", "list", "--json").stdout)

    assert [set(row) for row in rows] == [{"name", "version", "path"}] * len(rows)
    (digits,) = (row for row in rows if row["name"] == "digits")
    assert digits["version"] == 1
    assert (Path(digits["path"]) / "model.onnx").is_file()


def test_bundle_inspect_shows_the_manifest(intact_toy: Path) -> None:
    text = succeed("bundle", "inspect", intact_toy).stdout
    manifest = json.loads(succeed("bundle", "inspect", intact_toy, "--json").stdout)

    assert "toy-1" in text
    assert "1000 inliers" in text
    assert manifest == json.loads((intact_toy / "manifest.json").read_text())


def test_bundle_verify_replays_the_golden_frames(intact_toy: Path, tmp_path: Path) -> None:
    shifted = make_bundle(tmp_path / "shifted", golden_shift=0.1)

    assert "16 golden frames score as exported" in succeed("bundle", "verify", intact_toy).stdout
    assert "golden frame 0" in refusal("bundle", "verify", shifted)


def test_version_is_printed() -> None:
    assert succeed("--version").stdout == f"driftprint {VERSION}\n"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["score", "--help"], ["bundle", "--help"], ["bundle", "list", "--json"], ["--version"]],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from driftprint.cli import main\n"
        f"sys.argv = ['driftprint', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'onnxruntime', 'onnx', 'torch', 'matplotlib', 'fastapi', 'paho'} & set(sys.modules)\n"
        "    print('loaded:', sorted(heavy), file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded: []"
