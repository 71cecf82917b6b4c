"""Bodies of requests: read within a time limit and parsed strictly; a bad one is the client's fault (4xx)."""

from typing import Final
from urllib.parse import parse_qsl

import anyio
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiDict, MultiDictProxy

from bulkid.web.errors import RefusedError

BODY_S: Final = 30.0
"""Seconds that a client has to send a body of a request that is no upload."""

_MOST_FIELDS: Final = 2000
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_FORM: Final = web.RequestKey("form", MultiDictProxy[str])
_FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "application/octet-stream"})  # the second: no type


async def read_body(request: web.Request) -> bytes:
    """Read the whole body.

    Raises:
        RefusedError: It comes too slowly, is cut short, or is in another character set than UTF-8.
        HTTPRequestEntityTooLarge: It is larger than the application allows.
    """
    require_utf8(request)
    try:
        with anyio.fail_after(BODY_S):
            return await request.read()
    except TimeoutError:
        raise RefusedError(408, "The request took too long.", "Send it again.") from None
    except (HttpProcessingError, web.RequestPayloadError, ConnectionError):
        raise RefusedError(400, "The request is incomplete.", "Send it again.") from None


def require_utf8(request: web.Request) -> None:
    """Refuse a body in a character set that no browser sends.

    Raises:
        RefusedError: The request names another one than UTF-8.
    """
    charset = request.charset
    if charset is not None and charset.lower() not in _CHARSETS:
        raise RefusedError(415, "The request must be in UTF-8.")


async def form_of(request: web.Request) -> MultiDictProxy[str]:
    """The fields of a form (``application/x-www-form-urlencoded``); none where the request has no body.

    Raises:
        RefusedError: The body is no such form.
        HTTPRequestEntityTooLarge: It is larger than the application allows.
    """
    known: MultiDictProxy[str] | None = request.get(_FORM)
    if known is not None:
        return known
    if request.content_type not in _FORM_TYPES:
        raise RefusedError(415, "This address takes a form (application/x-www-form-urlencoded).")
    body = await read_body(request)
    if request.content_type == "application/octet-stream" and body:
        raise RefusedError(415, "This address takes a form (application/x-www-form-urlencoded).")
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(text.strip(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:  # of decoding, or more fields than any page of the console has
        raise RefusedError(400, "The form is not valid.", "Reload the page and send it again.") from None
    form = MultiDictProxy(MultiDict(pairs))
    request[_FORM] = form
    return form
