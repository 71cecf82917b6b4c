"""Takes secrets out of what is about to be shown: log lines, error messages, tracebacks.

Two ways work together. What is *known* to be secret (:func:`register_secret`) is removed wherever it stands, in every
form that it usually takes: percent-encoded, Base64, escaped for JSON or as a Python literal. What *looks* like a secret
is removed by its place: behind ``Bearer``, in a ``client_secret=`` of a form, under a key that says so, before the
``@`` of an address, in the shape of a JWT.

The code that reads a secret (the settings, the token source) registers it at once.
"""

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time
from itertools import islice
from pathlib import PurePath
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus
from uuid import UUID

REDACTED: Final = "[redacted]"

MIN_LITERAL_LENGTH: Final = 5
"""Registered secrets below this length are not searched for: ``1234`` (the token in the vendor's guide) stands in row
numbers and times as well. They are removed by place only."""

_MIN_BASE64_LENGTH: Final = 8  # bytes; a shorter secret leaves too little that is sure inside a larger Base64 text
_MAX_DEPTH: Final = 12  # levels of nesting that are looked into; whatever is deeper is shown as its text
_MAX_ITEMS: Final = 200  # of one container; a line is for reading
_PAIR: Final = 2
_INT64: Final = 2**63

_PATTERNS: Final = (
    r"authorization|secret|passw(?:or)?d|passphrase|token|cookie|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|assertion|credential|signature"
)
_SECRET_KEY: Final = re.compile(_PATTERNS, re.IGNORECASE)
_HARMLESS_KEY: Final = re.compile(  # about a secret, not a secret
    r"[_-](?:types?|ur[li]|endpoint|expires(?:[_-](?:in|at))?|age|at|count|generation|source|file|name|kind|s|in)$",
    re.IGNORECASE,
)

_NOT_PROSE: Final = (  # "Bearer authentication", 'Bearer error="invalid_token"': words about the scheme, no credentials
    r"""(?!(?:auth|authentication|authorization|credentials?|error|expires_in|realm|scheme|scope|tokens?)(?:[\s.,:;!?)"'=]|$))"""
)
_SCHEME: Final = re.compile(
    r"\b(?P<scheme>(?i:Bearer)|Basic|BASIC|basic(?=\s+\S*[A-Z0-9=+/])|Negotiate|NTLM|Digest)(?P<gap>(?:\s|%20|\+)+)"
    + _NOT_PROSE
    + r"""[^\s"'\\<>&]+"""
)
_HEADER_LINE: Final = re.compile(  # a header as a line of text; one that begins with a quote is left to _ASSIGNED
    r"""\b(?P<name>(?:proxy-)?authorization|(?:set-)?cookie)(?P<gap>["']?\s*:\s*)(?!["'{\[(\s])"""
    r"""(?:(?<=cookie:)[^\r\n]+|(?<=cookie:\s)[^\r\n]+|Digest[^\r\n]+|[^\r\n"'\\]+)""",
    re.IGNORECASE,
)
_ASSIGNED: Final = re.compile(  # client_secret=..., "client_secret": "...", 'token': '...', client_secret%3D...
    rf"""(?P<key>(?:{_PATTERNS})[\w.-]{{0,40}})
    (?P<gap>(?:\\*["'])?\s{{0,8}}(?:=|:|%3D|%3A)\s{{0,8}}(?:[bru]{{0,2}}(?P<quote>\\*["']))?)
    (?P<value>(?(quote)(?:(?!(?P=quote))(?:\\.|.))+|(?:(?!%26)[^\s&"'\\,;<>(){{}}\[\]])+))""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_USERINFO: Final = re.compile(r"""://(?:[^/\s"<>]*|[^/\s"<>:@]*:(?:(?!://)[^\s"<>@])*)@""")
_JWT: Final = re.compile(r"(?:ey[AJ]|ew[o0])[A-Za-z0-9_-]{5,800}(?:\.[A-Za-z0-9_-]*){0,3}\.[A-Za-z0-9_-]{5,}")
_ANY_PATTERN: Final = re.compile(  # a text without any of these has none of the above: most are settled by this
    rf"://|ey[aj]|ew[o0]|bearer|basic|negotiate|ntlm|digest|{_PATTERNS}", re.IGNORECASE
)
_ORDINARY_WORD: Final = re.compile(r"(?:[^\W\d_]+|[1-5]\d\d)[.!?]?$")  # or an HTTP status


class Redactor:
    """Knows secrets and takes them out. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()  # as given, those long enough to be searched for
        self._forms: tuple[str, ...] = ()  # longest first, so that no form leaves the rest of a longer one behind

    def register(self, secret: str) -> None:
        """Remember a secret: from now on it is removed wherever it is."""
        with self._lock:
            new = {text for text in (secret, secret.strip()) if len(text) >= MIN_LITERAL_LENGTH} - self._known
            if new:
                self._known |= new
                forms = set(self._forms).union(*map(_forms, new))
                self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def text(self, text: str) -> str:
        """Take every secret out of a text."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        if "%" in text and self._contains_secret(text):
            return REDACTED
        if not _ANY_PATTERN.search(text):
            return text
        text = _USERINFO.sub(f"://{REDACTED}@", text)
        text = _JWT.sub(REDACTED, text)
        text = _SCHEME.sub(rf"\g<scheme>\g<gap>{REDACTED}", text)
        text = _HEADER_LINE.sub(rf"\g<name>\g<gap>{REDACTED}", text)
        return _ASSIGNED.sub(_without_value, text)

    def _contains_secret(self, text: str) -> bool:
        """Whether a secret stands there percent-encoded in a way of its own: tools differ in it."""
        decoded = (unquote(text), unquote_plus(text))
        return any(secret in plain for secret in self._known for plain in decoded)

    def value(self, value: object, depth: int = 0) -> object:
        """Take every secret out of a value of any kind; the result is made of what JSON knows, and shares nothing."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.text(bytes(value).decode("utf-8", "backslashreplace"))
        if depth < _MAX_DEPTH and not isinstance(value, str):
            if isinstance(value, Mapping):
                return self._mapping(value, depth + 1)
            if isinstance(value, Sequence | AbstractSet):
                return self._items(value, depth + 1)
        return self.text(encodable(_shown(value)))

    def keyed(self, key: object, value: object, depth: int = 0) -> object:
        """Take the secrets out of what stands under a key: all of it, when the key says that it is one."""
        if value is None or isinstance(value, bool) or not _is_secret_key(key):
            return self.value(value, depth)
        return REDACTED

    def _number(self, number: float) -> object:
        text = str(number)
        if any(form in text for form in self._forms):
            return REDACTED
        return number if isinstance(number, float) or -_INT64 <= number < _INT64 else text

    def _mapping(self, mapping: Mapping[object, object], depth: int) -> dict[str, object]:
        return {
            self.text(encodable(_name(key))): self.keyed(key, value, depth)
            for key, value in islice(mapping.items(), _MAX_ITEMS)
        }

    def _items(self, items: Sequence[object] | AbstractSet[object], depth: int) -> list[object]:
        """A list; a pair such as ``("Authorization", "...")`` counts as key and value, as headers are often kept."""
        if isinstance(items, Sequence) and len(items) == _PAIR and isinstance(items[0], str | bytes):
            return [self.value(items[0], depth), self.keyed(items[0], items[1], depth)]
        ordered: Iterable[object] = items if isinstance(items, Sequence) else sorted(items, key=_shown)
        shown = [self.value(item, depth) for item in islice(ordered, _MAX_ITEMS)]
        return shown if len(items) <= _MAX_ITEMS else [*shown, f"... {len(items) - _MAX_ITEMS} more"]


def _name(key: object) -> str:
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else _shown(key)


def _is_secret_key(key: object) -> bool:
    name = _name(key)
    return bool(_SECRET_KEY.search(name)) and not _HARMLESS_KEY.search(name)


def _without_value(match: re.Match[str]) -> str:
    """Keep the key; keep the value too where it is plainly none: ``token_type=Bearer``, ``invalid_token: The ...``."""
    key, gap, value = match["key"], match["gap"], match["value"]
    prose = match["quote"] is None and gap[-1].isspace() and ":" in gap and _ORDINARY_WORD.match(value)
    if prose or _HARMLESS_KEY.search(key):
        return match.group()
    return f"{key}{gap}{REDACTED}"


def _shown(value: object) -> str:
    """The text of any object; an object that cannot be shown costs its own text, not the line."""
    try:
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        return str(value) if isinstance(value, str | PurePath | UUID | date | time) else repr(value)
    except Exception:  # noqa: BLE001 - any object may be logged, and its own code runs here
        return f"<{type(value).__name__} that cannot be shown>"


def encodable(text: str) -> str:
    r"""Show half a surrogate pair as its escape (``\ud800``): no file and no terminal takes it as it is."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _forms(secret: str) -> set[str]:
    """Every form in which a secret is likely to be met."""
    data = secret.encode("utf-8", "surrogatepass")
    literal = repr(secret)[1:-1]
    forms = {secret, encodable(secret), literal, ascii(secret)[1:-1], repr(data)[2:-1]}
    forms |= {re.sub(r"(?<!\\)'", r"\\'", form) for form in forms}  # inside a literal that holds both quotes
    for ensure_ascii in (False, True):
        escaped = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        forms |= {escaped, escaped.replace("/", "\\/"), json.dumps(escaped, ensure_ascii=ensure_ascii)[1:-1]}
    for encoded in (quote(data), quote(data, safe=""), quote_plus(data)):
        forms |= {encoded, re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), encoded)}
    return {form for form in forms if len(form) >= MIN_LITERAL_LENGTH} | _base64_forms(data)


def _base64_forms(data: bytes) -> set[str]:
    """Base64 of the secret by itself, and as it stands inside a longer text (``client:secret``) at each alignment."""
    forms: set[str] = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode("ascii")
        forms |= {whole, quote(whole, safe="")}
        if len(data) >= _MIN_BASE64_LENGTH:
            for before in range(3):
                # characters that hold a bit of a neighbour are not the secret's own, and left off
                first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
                forms.add(encode(b"\0" * before + data).decode("ascii")[first:last])
    return forms


# One redactor for the whole process: no log line and no message shows a registered secret.
_redactor = Redactor()
register_secret, redact_text, redact_value = _redactor.register, _redactor.text, _redactor.keyed
