"""Answers for browsers: pages from templates, files to download, and the files that pages refer to."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp_jinja2
import jinja2
from aiohttp import web
from markupsafe import Markup

from bulkid import __version__
from bulkid.clock import iso_utc
from bulkid.journal.names import is_run_id
from bulkid.model import MAX_NOTE, RunStatus, Status
from bulkid.report.summary import status_label
from bulkid.runs.connection_check import verdict
from bulkid.runs.descriptions import OUTCOME_WORDS, day_of, destination_of
from bulkid.sheet import EXTENSIONS
from bulkid.text import count_of, humanize_seconds
from bulkid.web.auth.access import Principal, RefusedError, Role
from bulkid.web.auth.sessions import Session
from bulkid.web.console import console_of
from bulkid.web.uploads import MAX_BYTES
from bulkid.web.wording import console_words

_PACKAGE: Final = Path(__file__).parent
TEMPLATES: Final = _PACKAGE / "templates"
_YEAR_S: Final = 31_536_000

PRINCIPAL: Final = web.RequestKey("principal", Principal)
"""The principal of a request; missing where the client has not signed in."""

SESSION: Final = web.RequestKey("session", Session)
"""The session of a request; missing where there is none."""

PAGE_SIZE: Final = 100  # lines of a table on one page
_STATIC: Final[Mapping[str, tuple[bytes, str]]] = {
    name: ((_PACKAGE / "static" / name).read_bytes(), kind)
    for name, kind in (
        ("console.css", "text/css"),
        ("console.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    )
}
"""The files that pages refer to, with their types; the console serves no other file."""

PLACES: Final = (
    ("/", "Home", "/sheets"),
    ("/runs", "Runs", "/runs/"),
    ("/status", "Connection", "/status"),
    ("/account", "Account", ("/account/", "/tokens", "/audit")),
)
"""The main navigation: address, word, and the beginnings of the addresses of pages that belong to it."""

_VERSIONS: Final = {name: sha256(content).hexdigest()[:12] for name, (content, _) in _STATIC.items()}


def set_up_templates(app: web.Application) -> None:
    """Make the templates known to an application. Everything that they show is escaped."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "when": time_element,
        "when_text": when,
        "status_words": status_words,
        "number": lambda value: f"{value:,}",
        "seconds": humanize_seconds,
        "console_words": console_words,
        "day": day_of,
    }
    environment.tests["run_id"] = is_run_id
    environment.globals |= {
        "version": __version__,
        "asset": lambda name: f"/static/{name}?v={_VERSIONS[name]}",
        "count_of": count_of,
        "destination_of": destination_of,
        "status_label": status_label,
        "verdict": verdict,
        "sheet_endings": EXTENSIONS,
        "max_upload_bytes": MAX_BYTES,
        "max_note": MAX_NOTE,
        "Role": Role,
        "Status": Status,
        "RunStatus": RunStatus,
    }


def when(seconds: float | None) -> str:
    """A time as the pages show it: UTC, to the second."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def status_words(status: Status | RunStatus, ended: RunStatus | None = None) -> str:
    """A status as badges show it. Rows that are pending are "not sent" where the run ``ended`` refused."""
    if status is Status.PENDING and ended is RunStatus.REFUSED:
        return "not sent"
    return OUTCOME_WORDS.get(status.value, status.value.replace("_", " "))


def time_element(seconds: float | None) -> Markup:
    """A time as the pages show it, to which the script adds the user's local time."""
    if seconds is None:
        return Markup()
    return Markup('<time datetime="{}">{}</time>').format(iso_utc(seconds), when(seconds))


def page(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:  # noqa: ANN401
    """Answer with a page."""
    console, session = console_of(request), request.get(SESSION)
    shared = {
        "principal": request.get(PRINCIPAL),
        "csrf": "" if session is None else session.csrf,
        "here": request.path,
        "home": "/",
        "places": PLACES,
        "destination": console.destination,
        "has_users": console.authenticator.has_users,
    }
    return aiohttp_jinja2.render_template(template, request, {**shared, **context}, status=status)


def attachment(content: bytes, name: str, media_type: str = "text/csv") -> web.Response:
    """Answer with a file that the browser saves under a name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=content, content_type=media_type, headers=headers)


def redirect(path: str) -> web.Response:
    """Send the browser to another page. Handlers that set cookies return this instead of raising HTTPSeeOther."""
    return web.Response(status=303, headers={"Location": path})


async def static(request: web.Request) -> web.Response:
    """A style sheet, script or picture. Its address changes with its content, so that browsers may keep it."""
    name = request.match_info["name"]
    if name not in _STATIC:
        raise RefusedError(404, "There is no such file.")
    content, kind = _STATIC[name]
    kept = f"public, max-age={_YEAR_S}, immutable" if "v" in request.query else "no-cache"
    return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": kept})


class Pager:
    """Which page of a table a request asks for, and links to the others with the same filters."""

    def __init__(self, request: web.Request, size: int = PAGE_SIZE, path: str = "") -> None:
        text = request.query.get("page", "")
        asked = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 1  # noqa: PLR2004
        self._path = path or request.path
        self._query = {name: value for name, value in request.query.items() if name != "page"}
        self.number = max(1, asked)  # from 1
        self.size = size  # lines per page
        self.offset = (self.number - 1) * size
        self.total = self.pages = self.first = self.last = 0
        self.missing = 0  # the page that was asked for, where the table has fewer

    def of(self, total: int) -> "Pager":
        """Take the number of lines of the table: ``first`` to ``last`` are shown; ``first`` is 0 for none."""
        self.total = total
        self.pages = max(1, -(-total // self.size))
        self.first = self.offset + 1 if self.offset < total else 0
        self.last = min(total, self.offset + self.size)
        self.missing = self.number if self.number > self.pages and total else 0
        self.number = min(self.number, self.pages)
        return self

    def link(self, number: int) -> str:
        """The address of another page."""
        return f"{self._path}?{urlencode({**self._query, 'page': number})}"
