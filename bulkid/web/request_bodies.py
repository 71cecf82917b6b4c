"""Bodies of requests: read within a time limit and parsed strictly; a bad one is the client's fault (4xx)."""

import re
import unicodedata
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar
from urllib.parse import parse_qsl, quote

import anyio
from aiohttp import web
from aiohttp.hdrs import CONTENT_DISPOSITION
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    BodyPartReader,
    MultipartReader,
)
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from bulkid.web.auth.access import RefusedError

Each = TypeVar("Each")

GO_BACK: Final = "Go back, reload the page, and send the form again."
"""What a user can do about a form that is refused as a whole; to reload the refusal would send the same form again."""

BODY_TIMEOUT_S: Final = 30.0  # seconds that a client has to send the body of a request, or the first bytes of an upload
MIN_BYTES_PER_S: Final = 500  # bytes per second at which the client must send the rest of an upload, on average
_MAX_FIELDS: Final = 2000
_INCOMPLETE: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""What reading a body raises when it is not framed as its headers say, or the client has disconnected."""

_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_FORM: Final = web.RequestKey("form", MultiDictProxy[str])
_FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "application/octet-stream"})  # the second: no type


def is_text(text: str) -> bool:
    """Whether a text holds neither control characters (tabs aside) nor lone surrogates, which are bytes of no UTF-8.

    Characters of the category Cf belong to names: joiners of Persian and of emoji, marks of the direction of writing.
    """
    return text.isprintable() or not any(unicodedata.category(each) in {"Cc", "Cs"} for each in text if each != "\t")


def without_nul(value: object) -> bool:
    """Whether no text of a parsed body holds U+0000, which a database may refuse."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, Mapping):
        return all(without_nul(each) for pair in value.items() for each in pair)
    return all(map(without_nul, value)) if isinstance(value, Sequence) else True


async def read_body(request: web.Request) -> bytes:
    """Read the whole body.

    Raises:
        RefusedError: It comes too slowly, is incomplete, or is in another character set than UTF-8.
        HTTPRequestEntityTooLarge: It is larger than the application allows.
    """
    if request.charset is not None and request.charset.lower() not in _CHARSETS:
        raise RefusedError(415, "The request must be in UTF-8.")
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise RefusedError(408, "The request took too long.", "Send it again.") from None
    except _INCOMPLETE:
        raise RefusedError(400, "The request is incomplete.", "Send it again.") from None


def ignore_disposition_warnings() -> None:
    """Keep aiohttp from warning on standard error of a malformed Content-Disposition, whose text a client chose."""
    for category in (BadContentDispositionHeader, BadContentDispositionParam):
        warnings.filterwarnings("ignore", category=category)


_FILE_OF_FORM: Final = re.compile(r'(form-data; name="[^";]*"; filename)="((?:\\.|[^"\\])*)"')


def with_encoded_file_name(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    """The headers of a part as a browser sends them, with a file name that aiohttp reads though it contains semicolons.

    aiohttp divides the header at each semicolon, also within quotes; of the form ``filename*`` it reads every name.
    """
    found = _FILE_OF_FORM.fullmatch(headers.get(CONTENT_DISPOSITION, ""))
    if found is None or ";" not in found[2]:
        return headers
    name = re.sub(r'\\(["\\])', r"\1", found[2])
    changed = CIMultiDict(headers)
    changed[CONTENT_DISPOSITION] = f"{found[1]}*=utf-8''{quote(name, safe='', errors='replace')}"
    return CIMultiDictProxy(changed)


class UploadReader:
    """Reads a multipart body, and refuses one that comes too slowly (RefusedError).

    ``monotonic`` gives seconds that only go forward.
    """

    def __init__(self, reader: MultipartReader, monotonic: Callable[[], float]) -> None:
        self._reader = reader
        self._monotonic = monotonic
        self._deadline = monotonic() + BODY_TIMEOUT_S

    async def next_part(self) -> BodyPartReader | None:
        """The next part that is not a multipart body itself; None at the end.

        Raises:
            ValueError: The part is malformed (it has no name that can be read, or its character set is none), or the
                body is not complete.
        """
        try:
            while (part := await self._in_time(self._reader.next)) is not None:
                if isinstance(part, BodyPartReader):
                    part.headers = with_encoded_file_name(part.headers)
                    if part.name is None:
                        raise ValueError("A part has no name.")
                    return part
        except (RuntimeError, BadContentDispositionHeader, BadContentDispositionParam) as error:
            # aiohttp's for a long _charset_, and its warnings where a filter makes them errors
            raise ValueError("A part is malformed.") from error
        return None

    async def chunk(self, part: BodyPartReader, size: int) -> bytes:
        """At most ``size`` bytes of a part; none at its end."""
        found = await self._in_time(partial(part.read_chunk, size))
        self._deadline += len(found) / MIN_BYTES_PER_S
        return found

    async def _in_time(self, read: Callable[[], Awaitable[Each]]) -> Each:
        left_s = self._deadline - self._monotonic()
        if left_s > 0:
            with anyio.move_on_after(left_s):
                try:
                    return await read()
                except _INCOMPLETE as error:
                    raise ValueError("The body is not complete.") from error
        raise RefusedError(408, "The upload took too long.", "Send it again over a faster connection.")


async def form_of(request: web.Request) -> MultiDictProxy[str]:
    """The fields of a form (``application/x-www-form-urlencoded``); none where the request has no body.

    Raises:
        RefusedError: The body is not such a form.
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
        pairs = parse_qsl(text.strip(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
        valid = without_nul(pairs)
    except ValueError:  # of decoding, or more fields than any page of the console has
        valid = False
    if not valid:
        raise RefusedError(400, "The form is not valid.", GO_BACK)
    form = MultiDictProxy(MultiDict(pairs))
    request[_FORM] = form
    return form
