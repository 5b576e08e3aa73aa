"""Rollouts over HTTP: what is answered, and that nothing is half-done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from driftprint_server.access.identity import Role
from tests.bundles import make_bundle
from tests.server.rollout.apps import UPLOAD_BYTES, make_app
from tests.server.rollout.fleets import TOY1, TOY2, Scene

BODY: dict[str, Any] = {"bundle": "toy-2", "stages": [30, 100], "soak_seconds": 100}


@pytest.fixture
def client(ten: Scene) -> TestClient:
    return TestClient(make_app(ten))


def start(client: TestClient, scene: Scene, **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/rollouts", json=BODY | fields)
    assert answer.status_code == 201, answer.text
    assert answer.json()["progress"] == {"waiting": 10}
    scene.rollouts.tick()
    found: dict[str, Any] = client.get(f"/api/rollouts/{answer.json()['id']}").json()
    return found


def test_a_rollout_shows_who_is_how_far(client: TestClient, ten: Scene) -> None:
    begun = start(client, ten)
    assert begun["progress"] == {"told": 3, "waiting": 7}
    one, two, three = sorted(ten.broker.told())
    ten.look()
    ten.fleet.report(one, bundle=TOY2)
    ten.fleet.report(two, bundle=TOY2, alarms=1)
    ten.fleet.report(three, error="toy-2: is not signed")
    ten.look()
    ten.look(31)
    found = client.get(f"/api/rollouts/{begun['id']}").json()
    assert found["progress"] == {"refused": 1, "alarmed": 1, "running": 1, "waiting": 7}
    assert [(each["device"], each["progress"], each["error"]) for each in found["members"][:3]] == [
        (three, "refused", "toy-2: is not signed"),
        (two, "alarmed", None),
        (one, "running", None),
    ]
    assert found["evidence"]["new_alarms"] == 1
    assert 0 < found["evidence"]["toward_stop"] < 1
    assert [(step["who"], step["action"]) for step in found["history"]] == [("ann", "start")]
    assert client.get("/api/rollouts").json()["rollouts"][0]["progress"] == found["progress"]


def test_a_bundle_that_devices_could_not_go_back_to_is_named(client: TestClient, ten: Scene) -> None:
    (ten.bundles / f"{TOY1}.driftprint").unlink()
    assert start(client, ten)["no_way_back"] == ["toy-1"]


def test_an_operator_stops_widens_and_resumes_what_they_have_seen(client: TestClient, ten: Scene) -> None:
    begun = start(client, ten)
    path = f"/api/rollouts/{begun['id']}"
    widened = client.post(f"{path}/widen", json={"percent": 50, "revision": begun["revision"]})
    assert (widened.status_code, widened.json()["percent"]) == (200, 50)
    late = client.post(f"{path}/stop", json={"back": True, "revision": begun["revision"]})
    assert late.status_code == 409
    assert "has changed meanwhile" in late.json()["detail"]
    stopped = client.post(f"{path}/stop", json={"back": True, "revision": widened.json()["revision"]})
    assert (stopped.status_code, stopped.json()["status"], stopped.json()["back"]) == (200, "stopped", True)
    resumed = client.post(f"{path}/resume", json={})
    assert (resumed.status_code, resumed.json()["status"]) == (200, "running")
    assert client.post(f"{path}/resume", json={}).status_code == 409


@pytest.mark.parametrize(
    ("fields", "code", "detail"),
    [
        ({"bundle": "toy-9"}, 404, "there is no bundle toy-9; upload it first"),
        ({"bundle": "toy-01"}, 422, "toy-01 is no NAME-VERSION"),
        ({"bundle": "toy"}, 422, "toy is no NAME-VERSION of a bundle, as in parts-2"),
        ({"site": "nowhere"}, 409, "there is no stream that runs toy there"),
        ({"stages": [50, 10]}, 422, "must ascend"),
        ({"stages": [0]}, 422, "must be per cent of the devices, each from 1 to 100"),
        ({"device": "pi-1"}, 422, "named together with its site"),
        ({"soak_seconds": -1}, 422, "greater than or equal to 0"),
        ({"whatever": 1}, 422, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_answered_so_and_starts_nothing(
    client: TestClient, fields: dict[str, Any], code: int, detail: str
) -> None:
    answer = client.post("/api/rollouts", json=BODY | fields)
    assert answer.status_code == code
    assert detail in answer.text
    assert client.get("/api/rollouts").json()["rollouts"] == []


def test_a_second_one_is_told_what_to_do(client: TestClient, ten: Scene) -> None:
    start(client, ten)
    answer = client.post("/api/rollouts", json=BODY | {"bundle": "toy-3"})
    assert answer.status_code == 409
    assert "stop it first, or let it come to its end" in answer.json()["detail"]


def test_an_unknown_one_is_answered_so(client: TestClient) -> None:
    for unknown in ("f00", "XYZ", "f" * 33):
        answer = client.get(f"/api/rollouts/{unknown}")
        assert (answer.status_code, answer.json()) == (404, {"detail": f"there is no rollout {unknown}"})
    for action, body in (("stop", {}), ("resume", {}), ("widen", {"percent": 50})):
        assert client.post(f"/api/rollouts/f00/{action}", json=body).status_code == 404


def test_who_may_look_may_not_act_and_who_is_nobody_may_not_look(ten: Scene) -> None:
    viewer, nobody = (TestClient(make_app(ten, role)) for role in (Role.VIEWER, None))
    assert viewer.get("/api/rollouts").status_code == 200
    assert viewer.get("/api/bundles").status_code == 200
    for path in ("/api/rollouts", "/api/rollouts/f00/stop"):
        assert viewer.post(path, json=BODY if path.endswith("rollouts") else {}).status_code == 403
    assert viewer.post("/api/bundles", content=b"x").status_code == 403
    assert nobody.get("/api/rollouts").status_code == 401
    assert nobody.get("/api/bundles").status_code == 401
    assert ten.audit.lines(limit=5) == []


def test_a_device_fetches_a_bundle_by_its_address_alone_and_in_parts(ten: Scene) -> None:
    client = TestClient(make_app(ten, None))
    path = ten.links.url(TOY2).removeprefix("http://server.example:8466")
    whole = client.get(path)
    assert whole.content == (ten.bundles / f"{TOY2}.driftprint").read_bytes()
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    part = client.get(path, headers={"Range": "bytes=10-19", "If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    for wrong in (
        path.replace("toy-2", "toy-1"),
        path.replace("toy-2", "toy-9"),
        path.replace("toy-2.driftprint", "..%2Foperators.db"),
        path[: len("/bundles/")] + "0" * 40 + "/toy-2.driftprint",
        path.removesuffix(".driftprint"),
    ):
        assert client.get(wrong).status_code == 404, wrong


def test_a_bundle_that_is_exchanged_during_a_rollout_is_given_to_nobody_and_the_rollout_says_so(
    client: TestClient, ten: Scene
) -> None:
    begun = start(client, ten)
    path = ten.links.url(TOY2).removeprefix("http://server.example:8466")
    file = ten.bundles / f"{TOY2}.driftprint"
    original = file.read_bytes()
    assert begun["problem"] is None
    (line,) = ten.audit.lines(limit=5)
    listed = ten.catalogue.find(TOY2)
    assert listed is not None
    assert line.detail["sha256"] == listed.digest

    file.unlink()
    make_bundle(file, version=2, calibration=[0.1, 0.2], zipped=True)
    assert client.get(path).status_code == 404
    exchanged = client.get(f"/api/rollouts/{begun['id']}").json()["problem"]
    assert exchanged.startswith("toy-2 in the server's folder has other contents than this rollout began with")
    file.unlink()
    gone = client.get(f"/api/rollouts/{begun['id']}").json()["problem"]
    assert gone.startswith("toy-2 is not in the server's folder")
    file.write_bytes(original)
    assert client.get(path).content == original
    assert client.get(f"/api/rollouts/{begun['id']}").json()["problem"] is None


def test_an_upload_is_listed_once_and_said_who_brought_it(client: TestClient, ten: Scene, tmp_path: Path) -> None:
    new = make_bundle(tmp_path / "new.zip", version=7, zipped=True).read_bytes()
    assert client.post("/api/bundles", content=new).status_code == 201
    assert client.post("/api/bundles", content=new).status_code == 200
    assert [bundle["id"] for bundle in client.get("/api/bundles").json()["bundles"]] == [
        "toy-1",
        "toy-2",
        "toy-3",
        "toy-7",
    ]
    assert [(line.who, line.action, line.target) for line in ten.audit.lines(limit=5)] == [
        ("ann", "bundle.upload", "toy-7")
    ]


def test_an_upload_that_is_refused_leaves_nothing(client: TestClient, ten: Scene, tmp_path: Path) -> None:
    before = sorted(path.name for path in ten.bundles.iterdir())
    other = make_bundle(tmp_path / "other.zip", version=2, calibration=[0.1, 0.2], zipped=True).read_bytes()
    assert client.post("/api/bundles", content=other).status_code == 409
    broken = client.post("/api/bundles", content=b"PK and no more")
    assert (broken.status_code, broken.json()["detail"]) == (422, "neither a folder nor a whole zip file")
    assert client.post("/api/bundles", content=b"x" * (UPLOAD_BYTES + 1)).status_code == 413

    def endless() -> Any:
        for _ in range(3):
            yield b"x" * (UPLOAD_BYTES // 2)

    assert client.post("/api/bundles", content=endless()).status_code == 413
    assert sorted(path.name for path in ten.bundles.iterdir()) == before
    lines = ten.audit.lines(limit=5)
    assert {(line.who, line.action, line.target) for line in lines} == {("ann", "bundle.refuse", "upload")}
    assert [str(line.detail["reason"]).split(";")[0] for line in reversed(lines)] == [
        "toy-2 is here already, with other contents",
        "neither a folder nor a whole zip file",
        f"larger than {UPLOAD_BYTES} bytes",
        f"larger than {UPLOAD_BYTES} bytes",
    ]


def test_an_upload_is_noted_before_it_is_there_so_that_no_kill_leaves_a_bundle_that_nobody_brought(
    client: TestClient, ten: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise OSError(5, "here it ends")

    new = make_bundle(tmp_path / "new.zip", version=7, zipped=True).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", end)
        assert client.post("/api/bundles", content=new).status_code == 503
    assert [(line.who, line.action, line.target) for line in ten.audit.lines(limit=5)] == [
        ("ann", "bundle.upload", "toy-7")
    ]
    with ten.store.transaction() as db:
        db.execute("ALTER TABLE audit RENAME TO away")
    assert client.post("/api/bundles", content=new).status_code == 503
    assert not (ten.bundles / "toy-7.driftprint").exists()
