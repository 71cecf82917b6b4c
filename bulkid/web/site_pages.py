"""The start page, the audit log, the state of the connection, and metrics."""

import csv
import io

from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid import runs
from bulkid.clock import iso_utc
from bulkid.resources import current
from bulkid.runs.concurrency import in_thread
from bulkid.sheet.formula_escape import escape_formula
from bulkid.web.audit import note
from bulkid.web.console import console_of
from bulkid.web.pages import Pager, attachment, page


async def home(request: web.Request) -> web.StreamResponse:
    """The start page: upload a sheet, or resume a run."""
    console = console_of(request)
    lines, _ = await in_thread(console.run_browser.runs, limit=8)
    undone = await in_thread(console.run_browser.undone)
    resumable = [line for line in lines if console.can_resume(line, undone)]
    return page(request, "home.html", lines=lines, resumable=resumable, resource=current())


async def template(_request: web.Request) -> web.Response:
    """An empty sheet to fill in."""
    return attachment((",".join(current().template_headers) + "\r\n").encode("utf-8-sig"), "bulkid-template.csv")


async def status(request: web.Request) -> web.StreamResponse:
    """The state of the connection, as ``doctor`` reports it."""
    at, findings = await console_of(request).findings()
    return page(request, "status.html", at=at, findings=findings)


async def examine(request: web.Request) -> web.StreamResponse:
    """Check the connection again."""
    await console_of(request).findings(again=True)
    raise HTTPSeeOther("/status")


async def metrics(request: web.Request) -> web.Response:
    """The figures of every job's newest run as Prometheus text, for a scraper with a bearer token."""
    context = console_of(request).context
    body = await in_thread(runs.metrics, context.state_dir, database_url=context.database_url)
    return web.Response(body=body, headers={"Content-Type": runs.METRICS_TYPE})


async def audit(request: web.Request) -> web.StreamResponse:
    """The page of the audit log, the newest entries first."""
    pager = Pager(request)
    entries, total = await in_thread(console_of(request).store.audit_page, pager.offset, pager.size)
    return page(request, "audit.html", entries=entries, pager=pager.of(total))


async def audit_csv(request: web.Request) -> web.StreamResponse:
    """The whole audit log as a CSV file."""

    def write() -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(("at", "actor", "address", "action", "subject", "detail"))
        for entry in console_of(request).store.audit_entries():
            values = (entry.actor, entry.address, entry.action, entry.subject, entry.detail)
            writer.writerow((iso_utc(entry.at), *map(escape_formula, values)))
        return text.getvalue().encode("utf-8-sig", "backslashreplace")

    await note(request, "audit log downloaded")
    return attachment(await in_thread(write), "bulkid-audit.csv")
