"""Turns answers and failures into replies: what a status, a body or a broken connection means, by its form alone.

Text from outside is made safe here: bounded, on one line, and without anything that looks like a token.
"""

import asyncio
import re
import ssl
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import orjson
from multidict import istr

from bulkid.model import Allowance, Reply, ReplyKind
from bulkid.redaction import REDACTED, redact_text

_EMPTY_RESPONSES: frozenset[int] = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT})
_KIND_BY_STATUS: dict[int, ReplyKind] = {
    HTTPStatus.UNAUTHORIZED: ReplyKind.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: ReplyKind.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS: ReplyKind.THROTTLED,
    HTTPStatus.SERVICE_UNAVAILABLE: ReplyKind.UNAVAILABLE,
    HTTPStatus.REQUEST_TIMEOUT: ReplyKind.SERVER_ERROR,
    HTTPStatus.TOO_EARLY: ReplyKind.SERVER_ERROR,
}
_BETWEEN_OBJECTS, _BLANKS = b'},{"', b" \t\r\n"
_MEMBERS = re.compile(rb'"members"[ \t\r\n]*:[ \t\r\n]*\[')
_NO_SUCH_PATH: frozenset[int] = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", re.ASCII)

_EXPIRED = ("certificate_expired", "its certificate has expired", "Is the clock of this machine right?")
_NOT_YET_VALID = (
    "certificate_not_yet_valid",
    "its certificate is not valid yet",
    "Is the clock of this machine right?",
)
_OTHER_NAME = ("certificate_name", "its certificate is for another name", "Check the host name in BULKID_URL.")
_CA_HINT = "Set BULKID_CA_BUNDLE to the certificate file (PEM) of your certificate authority."
_UNTRUSTED = ("certificate", "its certificate is not trusted", _CA_HINT)
_CERTIFICATE_PROBLEMS = {  # by the code of the failed verification, what is wrong where it is not the issuer
    9: _NOT_YET_VALID,  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID
    10: _EXPIRED,  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
    62: _OTHER_NAME,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: _OTHER_NAME,  # X509_V_ERR_IP_ADDRESS_MISMATCH
    0x800B0101: _EXPIRED,  # Windows' CERT_E_EXPIRED, which truststore hands on
    0x800B010F: _OTHER_NAME,  # CERT_E_CN_NO_MATCH
}


def read_success(status: int, body: bytes, credential: int = 0, keys: tuple[str, ...] = ()) -> Reply | None:
    """The reply to a success in JSON, as nearly every answer is; None: ``read_response`` reads the others."""
    if not 200 <= status < 300 or status in _EMPTY_RESPONSES:  # noqa: PLR2004 - the class of a status is its first digit
        return None
    try:
        payload = decode_keys(body, keys) if keys else orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return Reply(ReplyKind.OK, status, payload, None, "", "", credential)  # by place: 0.1 us less


def decode_keys(body: bytes, keys: Sequence[str]) -> object:
    """Decode an object, or a list of objects, and keep only some keys of each.

    Raises:
        JSONDecodeError: The body is no JSON.
    """
    if not body[:64].lstrip(_BLANKS).startswith(b"{"):
        return decode_list(body, keys)
    return _only(keys, _without_members(body, keys) or orjson.loads(body))


def _without_members(body: bytes, keys: Sequence[str]) -> object:
    """Decode an object without the content of its list ``members``, if that leaves all keys; None if it does not.

    The members of a group of 100,000 would take 60 MB. No JSON text holds the quoted key without a backslash. Where the
    last bracket is not that of the list, what is left is no JSON, or lacks a key. An object is not taken whose list may
    be within the value of a key.
    """
    members, end = _MEMBERS.search(body), body.rfind(b"]")
    if members is None or end < members.end():
        return None
    try:
        found = orjson.loads(body[: members.end()] + body[end:])
    except orjson.JSONDecodeError:
        return None
    whole = isinstance(found, dict) and all(not isinstance(found.get(key, []), dict | list) for key in keys)
    return found if whole else None


def decode_list(body: bytes, keys: Sequence[str], part_size: int = 1 << 18) -> object:
    """Decode a list of objects in parts of at least ``part_size`` bytes, and keep only some keys of each object.

    The objects of a list of 33,333 groups take 27 MB as a whole. A list is cut where an object ends and the next one
    begins. Each part must be a list by itself: then no text and no inner list was cut. Where one is not, the whole list
    is decoded at once. Any other JSON is decoded as it is; `JSONDecodeError` where the body is none.
    """
    found: list[object] = []
    start, end = body.find(b"[") + 1, body.rfind(b"]")
    is_list = start > 0 and not body[: start - 1].strip(_BLANKS) and not body[end + 1 :].strip(_BLANKS)
    try:
        while is_list and start <= end:
            cut = body.find(_BETWEEN_OBJECTS, start + part_size, end) + 1 or end
            found += [_only(keys, item) for item in orjson.loads(b"[%b]" % body[start:cut])]
            start = cut + 1
    except orjson.JSONDecodeError:
        is_list = False
    if is_list:
        return found
    whole = orjson.loads(body)
    return [_only(keys, item) for item in whole] if isinstance(whole, list) else whole


def _only(keys: Sequence[str], item: object) -> object:
    return {key: item[key] for key in keys if key in item} if isinstance(item, dict) else item


def read_response(
    status: int, headers: Mapping[str, str], body: bytes, now: float, secrets: Iterable[str] = ()
) -> Reply:
    """Say what a whole HTTP answer means; ``body`` is decompressed.

    ``now`` (seconds since the epoch) is for a Retry-After that is a date; no message holds any of the ``secrets``.
    """
    if 200 <= status < 300:  # noqa: PLR2004 - the class of a status is its first digit
        if status in _EMPTY_RESPONSES:
            return Reply(ReplyKind.OK, status)
        return read_success(status, body) or _undecodable(status, headers, body, secrets)
    return _not_ok(status, headers, body, now, secrets)


def _undecodable(status: int, headers: Mapping[str, str], body: bytes, secrets: Iterable[str]) -> Reply:
    """A success that is no JSON: a page, an empty or a cut body. Only a byte order mark is forgiven."""
    if body.startswith(BOM_UTF8):
        with suppress(orjson.JSONDecodeError):
            return Reply(ReplyKind.OK, status, orjson.loads(body.removeprefix(BOM_UTF8)))
    if looks_like_html(body, headers.get("Content-Type", "")):
        what = read_error_body(status, body, headers.get("Content-Type", ""), secrets)[1]
    else:
        what = "text that is no JSON, or is cut short" if body.strip() else "an empty body"
    return Reply(ReplyKind.NOT_JSON, status, error_code="not_json", error=f"The server answered with {what}.")


def _not_ok(status: int, headers: Mapping[str, str], body: bytes, now: float, secrets: Iterable[str]) -> Reply:
    """Any status but a success."""
    content_type = headers.get("Content-Type", "")
    if 300 <= status < 400:  # noqa: PLR2004 - the class of a status is its first digit
        target = safe_text(re.split(r"[?#]", headers.get("Location", ""), maxsplit=1)[0], secrets, 200)
        message = f"The server sends elsewhere ({status_phrase(status)}{f', to {target}' if target else ''})."
        return Reply(ReplyKind.NOT_JSON, status, error_code="redirect", error=message)
    code, message = read_error_body(status, body, content_type, secrets)
    retry_after = parse_retry_after(headers.get("Retry-After", ""), headers.get("Date", ""), now)
    if status in _NO_SUCH_PATH and looks_like_html(body, content_type):
        # The API answers in JSON; a page says that there is no API at this address.
        message = f"The server answered {status_phrase(status)} with {message}."
        return Reply(ReplyKind.NOT_JSON, status, retry_after=retry_after, error_code="not_json", error=message)
    kind = _KIND_BY_STATUS.get(status)
    if kind is None:
        kind = ReplyKind.REFUSED if 400 <= status < 500 else ReplyKind.SERVER_ERROR  # noqa: PLR2004
    return Reply(kind, status, retry_after=retry_after, error_code=code, error=message)


def parse_retry_after(value: str, date: str, now: float) -> float | None:
    """Read Retry-After (seconds, or an HTTP date) as seconds from receipt, never negative; None: nothing usable.

    A date is relative to the answer's ``date`` header, since the server's clock may differ from this machine's; without
    one it is relative to ``now`` (seconds since the epoch).
    """
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    since = _http_date(date.strip())
    return max(0.0, until - (now if since is None else since))


def _http_date(value: str) -> float | None:
    """An HTTP date as seconds since the epoch; None for anything else."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def too_large(status: int, limit: int) -> Reply:
    """An answer that is longer than any the API gives; it was not read to its end."""
    message = f"The server's answer is longer than {limit // 2**20} MiB and was not read."
    return Reply(ReplyKind.NOT_JSON, status, error_code="too_large", error=message)


def timed_out_reply(timeout_s: float) -> Reply:
    """No whole answer in time; the request may have been applied."""
    return Reply(ReplyKind.LOST, error_code="timeout", error=f"No whole answer came within {timeout_s:g} s.")


class LostError(aiohttp.ClientError):
    """A connection broke after the request may have left; the cause says how."""


class NotSentError(aiohttp.ClientError):
    """The way to the server failed before the request left; the cause says how."""


def read_failure(exception: BaseException, authority: str, *, proxied: bool = False) -> Reply:
    """Say what an exception of aiohttp means: whether the request may have been applied, and what to do.

    ``authority`` is the server's host and port for the message; ``proxied`` says that a proxy leads there.
    """
    if isinstance(exception, NotSentError) and exception.__cause__ is not None:
        cause = read_failure(exception.__cause__, authority, proxied=proxied)
        if cause.kind is ReplyKind.NO_CONNECTION:
            return cause
        return _no_connection("no_connection", f"Cannot connect to {authority}: {_reason(exception.__cause__)}.")
    if isinstance(exception, aiohttp.ClientConnectorError):
        return _not_connected(exception, authority, proxied=proxied)
    if isinstance(exception, aiohttp.ClientHttpProxyError):
        return _proxy_refused(exception)
    if isinstance(exception, aiohttp.ConnectionTimeoutError):
        hint = "Does the proxy that HTTPS_PROXY names answer?" if proxied else "Does it need a proxy (HTTPS_PROXY)?"
        message = f"Cannot connect to {authority}: no answer in time. {hint}"
        return _no_connection("connect_timeout", message)
    cause_of_loss = exception.__cause__ if isinstance(exception, LostError) else None
    return _lost(cause_of_loss or exception, authority)


def _no_connection(code: str, message: str) -> Reply:
    return Reply(ReplyKind.NO_CONNECTION, error_code=code, error=message)


def _proxy_refused(exception: aiohttp.ClientHttpProxyError) -> Reply:
    if exception.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        hint = "HTTPS_PROXY takes user and password before the proxy's name."
        return _no_connection("proxy_credentials", f"The proxy wants other credentials (407): {hint}")
    return _no_connection("proxy_refused", f"The proxy refuses to connect: {status_phrase(exception.status)}.")


def _bad_certificate(error: Exception, authority: str) -> Reply:
    verify_code = getattr(error, "verify_code", None)
    code, what, hint = _CERTIFICATE_PROBLEMS.get(verify_code, _UNTRUSTED) if verify_code else _UNTRUSTED
    detail = safe_text(str(getattr(error, "verify_message", "")), limit=120).rstrip(".")
    return _no_connection(code, f"Cannot trust {authority}: {what}{f' ({detail})' if detail else ''}. {hint}")


def _not_connected(exception: aiohttp.ClientConnectorError, authority: str, *, proxied: bool) -> Reply:
    """No connection was made: by the class of the failure, then by what the operating system says."""
    if isinstance(exception, aiohttp.ClientConnectorCertificateError):
        return _bad_certificate(exception.certificate_error, authority)  # in older releases it has no os_error
    error = exception.os_error
    reason = _reason(error)
    if isinstance(exception, aiohttp.ClientProxyConnectionError):
        code, message = "proxy_unreachable", f"Cannot connect to the proxy that HTTPS_PROXY names: {reason}."
    elif proxied and isinstance(exception, aiohttp.ClientConnectorDNSError):  # the proxy looks up the server's host
        code, message = "proxy_unreachable", f"The host of the proxy that HTTPS_PROXY names is not found ({reason})."
    elif isinstance(exception, aiohttp.ClientConnectorDNSError):
        code = "host_not_found"
        message = f"The host of {authority} is not found ({reason}). Check BULKID_URL and the network."
    elif isinstance(error, ssl.SSLError):
        code = "tls"
        message = f"No secure connection to {authority}: {reason}. Is it the right port, and does it speak TLS?"
    elif isinstance(error, ConnectionRefusedError):
        code, message = "connection_refused", f"Nothing answers at {authority} (connection refused)."
    else:
        code, message = "no_connection", f"Cannot connect to {authority}: {reason}."
    return _no_connection(code, message)


def _lost(exception: BaseException, authority: str) -> Reply:
    """The request may have left: it is not known whether the server applied it."""
    if isinstance(exception, aiohttp.ClientPayloadError):
        code, message = "answer_cut", f"The answer of {authority} was cut short."
    elif isinstance(exception, aiohttp.ClientResponseError):
        code, message = "not_http", f"The answer of {authority} is not HTTP."
    elif isinstance(exception, asyncio.TimeoutError):
        code, message = "timeout", f"No whole answer of {authority} came in time."
    else:
        reason = _reason(exception)
        code, message = "connection_lost", f"The connection to {authority} broke before the answer came ({reason})."
    return Reply(ReplyKind.LOST, error_code=code, error=message)


def _reason(error: object) -> str:
    """The reason of an error in a few words; its class where it has none."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed it"
    text = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
    return safe_text(str(text), limit=120).rstrip(".") or type(error).__name__


# --- error bodies: in the forms of the vendor's layers (ASP.NET problem details, ABP, OAuth, older own envelopes)

MAX_MESSAGE = 500  # characters of a message that are kept: enough for a sentence, short enough for a cell
_MAX_CODE = 100
_MAX_BODY = 262_144  # bytes of a body that are looked at; an error that is longer than this is no sentence
_MAX_RAW = 10_000  # characters of one text that are looked at
_MAX_ITEMS = 20  # texts of a list that are looked at
_MAX_DEPTH = 6

_MIN_SECRET = 4  # shorter "secrets" would blank out ordinary words
_TITLE = re.compile(r"<title[^>]*>([^<]{1,300})", re.IGNORECASE)
_HTML = re.compile(rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE | re.DOTALL)

_MESSAGE_KEYS = ("errormessage", "message", "error_description", "description", "detail", "title", "statusdescription")
_CODE_KEYS = ("errorcode", "code")


def read_error_body(status: int, body: bytes, content_type: str = "", secrets: Iterable[str] = ()) -> tuple[str, str]:
    """Find the code and the readable message in an error answer; ``secrets`` appear in neither.

    Returns:
        The server's own code, or the status as a snake_case word; and a message of at most ``MAX_MESSAGE``
        characters. Neither is ever empty.
    """
    code, message = "", ""
    payload: object = None
    if len(body) <= _MAX_BODY:
        with suppress(orjson.JSONDecodeError):  # empty, cut short or no JSON
            payload = orjson.loads(body.removeprefix(BOM_UTF8))
    if payload is not None:
        code, message = _find(payload, 0)
    elif looks_like_html(body, content_type):
        title = _TITLE.search(body[:_MAX_RAW].decode("utf-8", "replace"))
        message = f'a web page, "{title[1].strip()}"' if title else "a web page"
    else:
        message = body[:_MAX_RAW].decode("utf-8", "replace")
    known = [secret for secret in secrets if len(secret) >= _MIN_SECRET]
    return (
        safe_text(code, known, _MAX_CODE) or _status_word(status),
        safe_text(message, known, MAX_MESSAGE) or status_phrase(status),
    )


def status_phrase(status: int) -> str:
    """A status as people know it, such as ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def looks_like_html(body: bytes, content_type: str = "") -> bool:
    """Whether a body is a page for people; JSON never is."""
    return "html" in content_type.lower() or _HTML.match(body[:2000]) is not None


def safe_text(text: str, secrets: Iterable[str] = (), limit: int = MAX_MESSAGE) -> str:
    """Make text from outside fit for a report: one line, no control characters, no tokens, bounded length."""
    known = tuple(secrets)
    text = _redact(text[:_MAX_BODY], known)[:_MAX_RAW]  # in this order: a secret that was cut would not be found
    text = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    text = _redact(" ".join(redact_text(text).split()), known)
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _redact(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text


def _status_word(status: int) -> str:
    """A status as a stable code: 404 is ``not_found``."""
    try:
        return re.sub(r"[^a-z0-9]+", "_", HTTPStatus(status).phrase.lower())
    except ValueError:
        return f"http_{status}"


def _find(payload: object, depth: int) -> tuple[str, str]:
    """Code and message in a decoded body, wherever its form keeps them."""
    if depth > _MAX_DEPTH:
        return "", ""
    if isinstance(payload, str):
        return "", payload
    if isinstance(payload, list):
        found = [_find(item, depth + 1) for item in payload[:_MAX_ITEMS]]
        return next((code for code, _ in found if code), ""), _joined(message for _, message in found)
    if not isinstance(payload, dict):
        return "", ""
    return _find_in_fields({key.lower(): value for key, value in payload.items()}, depth)


def _find_in_fields(fields: dict[str, Any], depth: int) -> tuple[str, str]:
    """The same for an object, by its keys in lower case: servers write both ``Message`` and ``message``."""
    code = next((text for key in _CODE_KEYS if (text := _code(fields.get(key)))), "")
    message = next((text for key in _MESSAGE_KEYS if (text := _text(fields.get(key)))), "")
    error = fields.get("error")
    if isinstance(error, str):  # OAuth: {"error": "invalid_client", "error_description": "..."}
        code, message = code or error, message or error
    for key in ("error", "errors", "validationerrors", "result"):
        if key == "error" and isinstance(error, str):
            continue
        inner_code, inner_message = _inner(fields, key, depth)
        code = code or inner_code
        message = _joined((message, inner_message))
    return code, _joined((message, _text(fields.get("details"))))


def _inner(fields: dict[str, Any], key: str, depth: int) -> tuple[str, str]:
    """What a nested object or list of errors says; of problem details, each field's name is said too."""
    value = fields.get(key)
    if key == "errors" and isinstance(value, dict):
        pairs = [(field, _find(texts, depth + 1)[1]) for field, texts in list(value.items())[:_MAX_ITEMS]]
        return "", _joined(f"{field}: {text}" if field else text for field, text in pairs if text)
    return _find(value, depth + 1)


def _code(value: object) -> str:
    """A code that says something: ABP writes 0 and others null when they have none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value).strip()
    return "" if text == "0" else text


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _joined(texts: Iterable[str]) -> str:
    """Texts in order, without those that an earlier one holds; whole sentences stand side by side."""
    kept: list[str] = []
    for text in texts:
        if text and not any(text in earlier for earlier in kept):
            kept.append(text)
    return " ".join(text if text.endswith((".", "!", "?")) or text is kept[-1] else f"{text};" for text in kept)


# --- what the server says is left

RATE_LIMIT: Final = istr("RateLimit")
REMAINING: Final = istr("RateLimit-Remaining")
_RESET: Final = istr("RateLimit-Reset")
_POLICY: Final = istr("RateLimit-Policy")

_LONGEST: Final = 1000  # characters of a header that are read
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*([0-9.]{1,16})(?![^\s,;])", re.ASCII)
_NAMES: Final = {"r": "remaining", "t": "reset", "remaining": "remaining", "reset": "reset"}


def read_allowance(headers: Mapping[str, str]) -> Allowance | None:
    """Give what is left, and until when; of several limits the one that leaves the least.

    None when the headers (matched without regard to case) are missing or say nothing usable. The IETF's drafts have
    given them several forms:

        RateLimit-Limit: 160        RateLimit: limit=160, remaining=12, reset=40
        RateLimit-Remaining: 12     RateLimit: "default";r=12;t=40
        RateLimit-Reset: 40         RateLimit-Policy: 160;w=300

    ``X-RateLimit-*`` is not read: each vendor means something else by its reset (seconds, an epoch, a date).
    """
    window = _policy_window(headers.get(_POLICY, ""))
    found = [
        allowance
        for item in _items(headers.get(RATE_LIMIT, ""))
        if (allowance := _allowance(item.get("remaining", ""), item.get("reset", ""), window)) is not None
    ]
    single = _allowance(headers.get(REMAINING, ""), headers.get(_RESET, ""), window)
    if single is not None:
        found.append(single)
    return min(found, key=lambda each: (each.remaining, -each.reset_s), default=None)


def _items(value: str) -> list[dict[str, str]]:
    """The limits that a RateLimit header lists. Its older form has one, whose parts are separated by commas."""
    value = value[:_LONGEST].lower()
    parts = [value] if "remaining" in value else value.split(",")
    return [{_NAMES[key]: count for key, count in _PARAMETER.findall(part) if key in _NAMES} for part in parts]


def _allowance(remaining: str, reset: str, window: float | None) -> Allowance | None:
    count = _COUNT.fullmatch(remaining.strip())
    seconds = _SECONDS.fullmatch(reset.strip())
    reset_s = window if seconds is None and not reset.strip() else (float(seconds[0]) if seconds else None)
    return None if count is None or reset_s is None else Allowance(int(count[0]), reset_s)


def _policy_window(value: str) -> float | None:
    """The longest window that a policy names, in seconds: what the reset can be at most, where it is not said."""
    named = _PARAMETER.findall(value[:_LONGEST].lower())
    windows = [float(number) for name, number in named if name == "w" and _SECONDS.fullmatch(number)]
    return max(windows, default=None)
