"""Templates to answers: what every page knows, and the words and figures that templates share."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp_jinja2
import jinja2
from aiohttp import web

from bulkid import __version__
from bulkid.model import RunStatus, Status
from bulkid.sheet import column_letters
from bulkid.text import count_of, humanize_seconds
from bulkid.web.auth.access import Principal, Role
from bulkid.web.console import console_of

_PACKAGE: Final = Path(__file__).parent

PRINCIPAL: Final = web.RequestKey("actor", Principal)
"""Who asks; missing where nobody has signed in."""

CSRF: Final = web.RequestKey("csrf", str)
"""The token that forms of this session carry."""

PAGE_SIZE: Final = 100
"""Lines of a table on one page."""

STATIC: Final[Mapping[str, tuple[bytes, str]]] = {
    name: ((_PACKAGE / "static" / name).read_bytes(), kind)
    for name, kind in (
        ("console.css", "text/css"),
        ("console.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    )
}
"""The files that pages refer to, with their types; nothing else is served."""

_VERSIONS: Final = {name: sha256(content).hexdigest()[:12] for name, (content, _) in STATIC.items()}

_COMMAND: Final = re.compile(r"(?:Go on with|See the report; go on with): bulkid resume \S+")

STATUS_LABELS: Final = {
    RunStatus.RUNNING: "running",
    RunStatus.COMPLETED: "completed",
    RunStatus.COMPLETED_WITH_FAILURES: "completed with failures",
    RunStatus.STOPPED: "stopped",
    RunStatus.INTERRUPTED: "interrupted",
    RunStatus.REFUSED: "refused",
}


def set_up_templates(app: web.Application) -> None:
    """Make the templates known to an application. Everything that they show is escaped."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(_PACKAGE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "when": when,
        "number": lambda value: f"{value:,}",
        "seconds": humanize_seconds,
        "letters": column_letters,
        "without_commands": strip_commands,
    }
    environment.globals |= {
        "version": __version__,
        "asset": lambda name: f"/static/{name}?v={_VERSIONS[name]}",
        "count_of": count_of,
        "run_words": STATUS_LABELS,
        "Role": Role,
        "Status": Status,
        "RunStatus": RunStatus,
    }


def when(seconds: float | None) -> str:
    """A moment as people read it: UTC, to the second."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def strip_commands(message: str) -> str:
    """A run's closing words without the command that goes on with it: here there is a button for that."""
    return _COMMAND.sub("", message).strip()


def page(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:  # noqa: ANN401
    """Answer with a page."""
    console = console_of(request)
    shared = {
        "actor": request.get(PRINCIPAL),
        "csrf": request.get(CSRF, ""),
        "here": request.path,
        "sandbox": console.options.sandbox,
        "has_users": console.authenticator.has_users,
    }
    return aiohttp_jinja2.render_template(template, request, {**shared, **context}, status=status)


def page_number(request: web.Request) -> int:
    """Which page of a table is asked for, from 1; nonsense means the first."""
    text = request.query.get("page", "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1  # noqa: PLR2004


class Pager:
    """Leads from one page of a table to the others, with the same filters.

    Args:
        request: Its path and query are what links repeat.
        total: How many lines there are.
        number: The page that is shown, from 1.
        size: Lines per page.
    """

    def __init__(self, request: web.Request, total: int, number: int, size: int = PAGE_SIZE) -> None:
        self._path = request.path
        self._query = {name: value for name, value in request.query.items() if name != "page"}
        self.total = total
        self.pages = max(1, -(-total // size))
        self.number = min(number, self.pages)
        self.first = (number - 1) * size + 1 if (number - 1) * size < total else 0  # 0: there is no such page
        self.last = min(total, number * size)

    def link(self, number: int) -> str:
        """The address of another page."""
        return f"{self._path}?{urlencode({**self._query, 'page': number})}"
