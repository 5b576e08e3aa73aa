"""Does an application do what its OpenAPI document says? Asked in ways that nobody would think of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, CheckFunction, GenerationMode, openapi
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from starlette.types import ASGIApp


def check_contract(
    app: ASGIApp,
    *,
    paths: str,
    headers: Mapping[str, str] | None = None,
    known: Mapping[str, str] | None = None,
    unsaid: Collection[str] = (),
    examples: int = 10,
) -> int:
    """Send made-up requests, right and wrong ones, to every operation; how many operations there were.

    Args:
        app: to be asked, in this process. Its document is ``/openapi.json``.
        paths: a regular expression: which of its paths.
        headers: for each request, to log in by; without any, somebody is taken to be logged in, always.
        known: by name: values of parameters in paths that name something that exists. Random ones hardly do.
        unsaid: rules that no JSON Schema can say, in words of the refusal of what breaks them.
        examples: requests of each kind to each operation.

    Raises:
        BaseException: of an answer that is a failure of the server's, has a status or a content type that the document
            does not know, or does not fit its schema; of one that takes what the document forbids, refuses what it
            allows, or lets in whoever has not logged in where it asks for that.
    """
    operations = 0
    document = openapi.from_asgi("/openapi.json", app, headers=dict(headers or {}))
    for found in document.include(path_regex=paths).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        operations += 1
        names = {parameter.name for parameter in operation.path_parameters}
        named = {name: value for name, value in (known or {}).items() if name in names}
        ask = _Asking(operation, dict(headers or {}), unsaid, examples)
        ask.everything(GenerationMode("positive"))
        if named:
            ask.everything(GenerationMode("positive"), named)
        if operation.body or any(operation.iter_parameters()):
            with suppress(Unsatisfiable):  # nothing is wrong as a file
                ask.everything(GenerationMode("negative"))
    return operations


@dataclass(frozen=True, slots=True)
class _Asking:
    """How one operation is asked; `check_contract` says what the attributes are."""

    operation: APIOperation[Any, Any, Any, Any]
    headers: dict[str, str]
    unsaid: Collection[str]
    examples: int

    def everything(self, mode: GenerationMode, named: dict[str, str] | None = None) -> None:
        @settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=self.operation.as_strategy(generation_mode=mode, path_parameters=named))
        def ask(case: Case[Any]) -> None:
            self.once(case)

        ask()

    def once(self, case: Case[Any]) -> None:
        answer = case.call(headers=self.headers)
        breaks_rule = answer.status_code == 422 and any(words in answer.text for words in self.unsaid)
        excluded: list[CheckFunction] = [
            *([positive_data_acceptance] if breaks_rule else []),
            *([] if self.headers else [ignored_auth]),
        ]
        case.validate_response(
            answer, headers=self.headers, excluded_checks=excluded, transport_kwargs={"headers": self.headers}
        )
