"""Does an application do what its OpenAPI document says? Asked in ways that nobody would think of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, CheckFunction, GenerationMode, openapi
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.types import ASGIApp

# What is allowed one by one may be refused together, as a start after an end.
_EXCLUDED: list[CheckFunction] = [positive_data_acceptance]


def check_contract(
    app: ASGIApp,
    *,
    paths: str,
    headers: Mapping[str, str] | None = None,
    known: Mapping[str, str] | None = None,
    examples: int = 10,
) -> int:
    """Send made-up requests, right and wrong ones, to every operation; how many operations there were.

    Args:
        app: to be asked, in this process. Its document is ``/openapi.json``.
        paths: a regular expression: which of its paths.
        headers: for each request, as to log in.
        known: by name: values of parameters in paths that name something that exists. Random ones hardly do.
        examples: requests of each kind to each operation.

    Raises:
        BaseException: of an answer that is a failure of the server's, has a status or a content type that the document
            does not know, or does not fit its schema; and of one that takes what the document forbids.
    """
    operations = 0
    for found in openapi.from_asgi("/openapi.json", app).include(path_regex=paths).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        operations += 1
        names = {parameter.name for parameter in operation.path_parameters}
        named = {name: value for name, value in (known or {}).items() if name in names}
        _ask(operation, GenerationMode("positive"), None, headers, examples)
        if named:
            _ask(operation, GenerationMode("positive"), named, headers, examples)
        if operation.body or any(operation.iter_parameters()):
            with suppress(Unsatisfiable):  # nothing is wrong as a file
                _ask(operation, GenerationMode("negative"), None, headers, examples)
    return operations


def _ask(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    named: dict[str, str] | None,
    headers: Mapping[str, str] | None,
    examples: int,
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode, path_parameters=named))
    def ask(case: Case[Any]) -> None:
        case.call_and_validate(headers=dict(headers or {}), excluded_checks=_EXCLUDED)

    ask()
