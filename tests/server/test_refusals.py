"""What programs are told that send what the server does not serve."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, Field, model_validator

from driftprint.errors import MissingExtraError, StoreError
from driftprint_server.refusals import add_refusals

JSON_WANTED = "send the body as JSON, with the header Content-Type: application/json"


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    percent: Annotated[int, Field(ge=1)]
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Body:
        if self.percent == 13:
            raise ValueError("13 brings bad luck; take another")
        return self


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    add_refusals(app)

    @app.post("/body")
    def body(given: Body) -> None:
        pass

    @app.get("/query")
    def query(limit: Annotated[int, Query(le=5)], word: str) -> None:
        pass

    @app.get("/disk")
    def disk() -> None:
        raise StoreError("is full", where="server.db")

    @app.get("/package")
    def package() -> None:
        raise MissingExtraError("Parquet needs pyarrow", extra="parquet")

    return TestClient(app)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{}", "percent: Field required"),
        (b'{"percent": 0}', "percent: Input should be greater than or equal to 1"),
        (b'{"percent": 13}', "13 brings bad luck; take another"),
        (b'{"percent": 0, "note": 1}', "percent: Input should be greater than or equal to 1; note: Input should be"),
        (b'{"percent": 1, "a": 1, "b": 1, "c": 1, "d": 1, "e": 1}', "a: Extra inputs are not permitted; b: "),
        (b'{"percent": 1, "\\ud800": 1}', "body: Input should be a valid string"),
        (b"[]", "body: Input should be a valid dictionary"),
        (b'{"percent": }', "the body is no JSON: Expecting value, at character 12"),
        (b"", JSON_WANTED),
    ],
)
def test_a_wrong_body_is_answered_with_a_sentence_that_names_what_is_wrong(
    client: TestClient, body: bytes, sentence: str
) -> None:
    answer = client.post("/body", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(sentence)


def test_of_many_complaints_some_are_told_and_the_others_counted(client: TestClient) -> None:
    answer = client.post("/body", json={f"x{i}": 1 for i in range(10)})
    assert answer.json()["detail"].count("Extra inputs") == 2
    assert answer.json()["detail"].endswith("; and 8 more")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
def test_a_body_that_is_not_said_to_be_json_is_asked_for_as_json(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/body", content=b'{"percent": 5}', headers=headers)
    assert (answer.status_code, answer.json()) == (422, {"detail": JSON_WANTED})


def test_a_wrong_query_is_answered_so_too(client: TestClient) -> None:
    answer = client.get("/query?limit=9")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "limit: Input should be less than or equal to 5; word: Field required"


def test_what_was_sent_is_not_said_again(client: TestClient) -> None:
    for body in ('{"percent": "my secret"}', '{"percent": 1, "note": ["my secret"]}', '{"percent": my secret}'):
        assert "my secret" not in client.post("/body", content=body, headers={"Content-Type": "application/json"}).text


def test_a_disk_that_refuses_and_a_package_that_is_missing_are_answers_of_their_own(client: TestClient) -> None:
    full = client.get("/disk")
    assert (full.status_code, full.headers["retry-after"]) == (503, "5")
    assert full.json() == {"detail": "server.db: is full; try again"}
    missing = client.get("/package")
    assert missing.status_code == 501
    assert "pip install 'driftprint[parquet]'" in missing.json()["detail"]
