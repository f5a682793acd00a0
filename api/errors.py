"""The one shape of an error, for every way to fail: {"error": {"reason": "NotFound", "message": "…"}}; on the page the same in words."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.middleware import HEADERS
from api.pages import templates
from catalog.errors import CatalogError, StoreUnavailable
from catalog.search import InvalidQuery

_PAGE = templates().get_template("error.html")


class ErrorDetail(BaseModel):
    reason: Annotated[str, Field(description="CamelCase word for programs.")]
    message: Annotated[str, Field(description="What is wrong and what to do, for people.")]


class ErrorBody(BaseModel):
    error: ErrorDetail


class BadCursor(CatalogError):
    """The cursor is not one of this list."""


class NotFound(CatalogError):
    """What was asked for is not in the catalogue, or not to be seen by who asks."""


class NotFetched(CatalogError):
    """A file that is not here yet."""


class Failure(NamedTuple):
    status: int
    reason: str
    message: str
    headers: Mapping[str, str] = {}


_STATUSES: Mapping[type[Exception], int] = {BadCursor: 400, InvalidQuery: 400, NotFound: 404, NotFetched: 404, StoreUnavailable: 503}


def failure(error: Exception) -> Failure:
    """What to answer for an error."""
    match error:
        case CatalogError() if type(error) in _STATUSES:
            return Failure(_STATUSES[type(error)], error.reason, str(error))
        case RequestValidationError():
            return Failure(422, "InvalidParameter", "; ".join(_complaint(problem) for problem in error.errors()))
        case HTTPException():
            return Failure(error.status_code, _camel(error.status_code), error.detail, error.headers or {})
        case _:
            return Failure(500, "InternalError", "the server made a mistake; its log says which")


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers of a route, for its OpenAPI description."""
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in statuses}


def answer_errors(app: FastAPI) -> None:
    """Give every error its answer."""
    for kind in (*_STATUSES, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    status, reason, message, headers = failure(error)
    if status >= 500:
        structlog.get_logger().warning(message, action="answer", reason=reason, method=request.method, path=request.url.path)
    # HEADERS here too: what nobody foresaw is answered outside all middleware.
    headers = {**headers, **HEADERS}
    if request.url.path == "/":
        return Response(_PAGE.render(reason=reason, message=message), status, headers, "text/html")
    body = ErrorBody(error=ErrorDetail(reason=reason, message=message))
    return Response(body.model_dump_json(), status, headers, "application/json")


def _camel(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")


def _complaint(problem: Mapping[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
