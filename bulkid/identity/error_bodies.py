"""Finds the code and the readable message in error bodies, in every form that the server is known to answer with.

The forms are those of the vendor's several layers (ASP.NET problem details, ABP, OAuth, older own envelopes). Text
from outside is made safe here: bounded, on one line, and without anything that looks like a token.
"""

import re
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import orjson

from bulkid.redaction import REDACTED, redact_text

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
    """Texts in order, without those that an earlier one holds."""
    kept: list[str] = []
    for text in texts:
        if text and not any(text in earlier for earlier in kept):
            kept.append(text)
    return "; ".join(kept)
