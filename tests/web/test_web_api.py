"""The JSON interface: a sheet from upload to report by a program, the errors, and the OpenAPI document."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from bulkid.model import Status
from bulkid.web import api, api_models
from bulkid.web.api_models import Run
from bulkid.web.auth.access import Role
from bulkid.web.auth.users import principal_of_token
from tests.support.examples import examples
from tests.support.web_console import World, sheet, small_organization, world
from tests.support.web_programs import Program


async def test_a_scraper_with_a_token_is_given_the_figures_of_the_runs(console: World) -> None:
    program = Program(console, Role.VIEWER)
    url = f"{program.browser.base}/metrics"
    async with program.browser.session.get(url) as refused:
        assert refused.status == 401
    await test_a_program_goes_the_whole_way(console)
    async with program.browser.session.get(url, headers={"Authorization": f"Bearer {program.token}"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert 'bulkid_run_rows{job="",status="updated"} 5.0' in await answer.text()


async def test_a_program_goes_the_whole_way(console: World) -> None:
    program = Program(console)
    status, taken = await program.upload(sheet(5))
    assert (status, taken["rows"], taken["invalid_rows"]) == (201, 5, 0)
    preview = await program.previewed(taken["sheet"])
    assert preview["changes"] == 5
    assert preview["accounts"][0]["display_after"] == "New name 1"
    status, begun = await program.ask("POST", f"/sheets/{taken['sheet']}/start", json={"preview": preview["preview"]})
    assert status == 201
    ended = await program.ended(begun["run_id"])
    assert (ended["status"], ended["updated"], ended["user"]) == ("completed", 5, "token test")
    status, rows = await program.ask("GET", f"/runs/{begun['run_id']}/rows?status=updated&limit=2&offset=1")
    assert rows["total"] == 5
    assert [row["name"] for row in rows["rows"]] == ["robot-0002", "robot-0003"]


@pytest.mark.parametrize("before", [True, False])
async def test_the_note_of_an_upload_is_kept_with_its_run(console: World, *, before: bool) -> None:
    program, form = Program(console), aiohttp.FormData()
    fields: list[tuple[str, Any, dict[str, str]]] = [
        ("sheet", sheet(2), {"filename": "accounts.csv"}),
        ("note", " CHG-4711 für <b> ", {}),
    ]
    for name, value, more in reversed(fields) if before else fields:
        form.add_field(name, value, **more)
    status, taken = await program.ask("POST", "/sheets", data=form)
    assert (status, taken["rows"], taken["note"]) == (201, 2, "CHG-4711 für <b>")
    preview = await program.previewed(taken["sheet"])
    assert "CHG-4711 für &lt;b&gt;" in (await console.browser.get(f"/sheets/{taken['sheet']}/preview")).text
    _, begun = await program.ask("POST", f"/sheets/{taken['sheet']}/start", json={"preview": preview["preview"]})
    ended = await program.ended(begun["run_id"])
    assert (ended["status"], ended["updated"], ended["created"], ended["deleted"]) == ("completed", 2, 0, 0)
    assert ended["note"] == "CHG-4711 für <b>"
    assert set(ended["requests"]) == {"GET", "PUT", "POST", "DELETE"}
    assert "CHG-4711 für &lt;b&gt;" in (await console.browser.get(f"/runs/{begun['run_id']}")).text
    noted = [each.detail for each in console.console.store.audit_page(0, 50)[0] if each.action == "run started"]
    assert noted == ["accounts.csv; note: CHG-4711 für <b>"]


@pytest.mark.parametrize("note", ["x" * 201, "ü" * 201, "x" * 1_000_000, "a\tb", "a\x1b[31m", "a\nb"])
async def test_a_note_that_cannot_be_shown_is_refused_and_nothing_is_kept(console: World, note: str) -> None:
    program, form = Program(console), aiohttp.FormData()
    form.add_field("sheet", sheet(1), filename="accounts.csv")
    form.add_field("note", note)
    status, refused = await program.ask("POST", "/sheets", data=form)
    assert status == 400
    assert "the sheet was not kept" in refused["error"]["message"]
    assert console.console.uploads.all() == []


async def test_a_program_says_how_a_sheet_is_read(console: World) -> None:
    program = Program(console)
    _, taken = await program.upload(b"Who,What\nrobot-0001,x\n")
    assert taken["readable"] is False
    assert "No column names" in taken["error"]["message"]
    status, mapped = await program.ask(
        "PATCH", f"/sheets/{taken['sheet']}", json={"map": {"Who": "name", "What": "display_name"}}
    )
    assert (status, mapped["readable"], mapped["rows"]) == (200, True, 1)


async def test_a_program_stops_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(latency_s=0.05), concurrency=1) as console:
        program = Program(console)
        _, taken = await program.upload(sheet(40))
        preview = await program.previewed(taken["sheet"])
        _, begun = await program.ask("POST", f"/sheets/{taken['sheet']}/start", json={"preview": preview["preview"]})
        with anyio.fail_after(30):
            while not any(method == "PUT" for method, _ in console.sandbox.served):  # noqa: ASYNC110 - another's counter
                await anyio.sleep(0.02)
        status, _ = await program.ask("POST", f"/runs/{begun['run_id']}/stop")
        assert status == 202
        assert (await program.ended(begun["run_id"]))["status"] == "interrupted"
        assert (await program.ask("POST", f"/runs/{begun['run_id']}/stop"))[0] == 409
        status, answer = await program.ask("POST", f"/runs/{begun['run_id']}/resume")
        assert status == 202
        assert [answer[name] for name in ("running", "status", "message", "finished_at")] == [True, "running", "", None]
        assert (await program.ended(begun["run_id"]))["updated"] == 40


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer x", "Bearer bulkid_x", "Basic YTpi", "Bearer  "])
async def test_without_a_good_token_every_endpoint_answers_401(console: World, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for route in api.OPERATIONS:
        path = route.path.replace("{upload}", "x").replace("{run}", "x").replace("{kind}", "csv")
        async with console.browser.session.request(  # a session of a person counts for nothing here
            route.method, console.browser.base + path, headers=headers
        ) as answer:
            assert answer.status == 401, route
            assert (await answer.json())["error"]["code"] == "unauthorized"


async def test_a_revoked_token_opens_nothing_any_more(console: World) -> None:
    program = Program(console)
    assert (await program.ask("GET", "/runs"))[0] == 200
    (record,) = console.console.store.tokens()
    assert console.console.store.revoke_token(record.token_id, 1.0)
    assert (await program.ask("GET", "/runs"))[0] == 401
    assert principal_of_token(console.console.store, program.token, 2.0) is None


async def test_a_viewer_s_token_changes_nothing(console: World) -> None:
    viewer = Program(console, Role.VIEWER)
    _, taken = await Program(console).upload(sheet(1))
    assert (await viewer.ask("GET", f"/sheets/{taken['sheet']}"))[0] == 200
    for route in api.OPERATIONS:
        if route.method != "GET":
            path = route.path.removeprefix("/api/v1").replace("{upload}", taken["sheet"]).replace("{run}", "x")
            assert (await viewer.ask(route.method, path, json={}))[0] == 403, route


REFUSED: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/nowhere", {}, 404),
    ("GET", "/runs/nope", {}, 404),
    ("GET", "/runs?limit=0", {}, 400),
    ("GET", "/runs?limit=1e3", {}, 400),
    ("GET", "/runs?offset=-1", {}, 400),
    ("GET", "/runs?limit=%2B1", {}, 400),
    ("GET", "/runs?limit=1_0", {}, 400),
    ("GET", "/runs?limit=5.0", {}, 400),
    ("GET", "/runs?limit=101", {}, 400),
    ("GET", "/sheets/nope", {}, 404),
    ("PUT", "/runs", {}, 405),
    ("POST", "/sheets", {"data": b"x"}, 415),
    ("POST", "/sheets", {"json": {}}, 415),
    ("PATCH", "/sheets/SHEET", {"data": b"{"}, 415),
    ("PATCH", "/sheets/SHEET", {"json": []}, 400),
    ("PATCH", "/sheets/SHEET", {"json": {"colour": 1}}, 400),
    ("PATCH", "/sheets/SHEET", {"json": {"map": {"a": "nothing"}}}, 400),
    ("PATCH", "/sheets/SHEET", {"json": {"map": {"a": 1}}}, 400),
    ("PATCH", "/sheets/SHEET", {"json": {"skip_invalid": "yes"}}, 400),
    ("PATCH", "/sheets/SHEET", {"json": {"ignore": ["a\0"]}}, 400),
    ("POST", "/sheets/SHEET/start", {"json": {"preview": "x"}}, 400),
    ("POST", "/sheets/SHEET/start", {"json": {}}, 400),
    ("POST", "/sheets/SHEET/start", {"json": {"preview": "x", "first": "1"}}, 400),
    ("POST", "/sheets/SHEET/start", {"json": {"preview": "x", "first": 1.0}}, 400),
    ("POST", "/sheets/SHEET/start", {"json": {"preview": "x", "first": 0}}, 400),
    ("POST", "/sheets/SHEET/start", {"json": {"preview": "x", "first": True}}, 400),
]
"""Method, path, body and status of requests that are refused."""


async def test_every_refusal_has_the_one_shape(console: World) -> None:
    program = Program(console)
    _, taken = await program.upload(sheet(1))
    for method, path, more, status in REFUSED:
        found, body = await program.ask(method, path.replace("SHEET", taken["sheet"]), **more)
        assert found == status, (method, path, more)
        assert set(body) == {"error"}, (method, path, more)
        assert set(body["error"]) == {"code", "message", "hint"}, (method, path, more)
        assert body["error"]["message"], (method, path, more)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"colour": 1}, "There is no member 'colour'."),
        ({"map": {"Who": "nothing"}}, "The member map.Who is not valid: Input should be 'robot_account_id', "),
        ({"skip_invalid": "yes"}, "The member skip_invalid is not valid: Input should be a valid boolean."),
    ],
)
async def test_a_refusal_names_the_member_that_is_not_valid(console: World, body: dict[str, Any], message: str) -> None:
    program = Program(console)
    _, taken = await program.upload(sheet(1))
    _, found = await program.ask("PATCH", f"/sheets/{taken['sheet']}", json=body)
    assert found["error"]["message"].startswith(message)


async def test_a_body_that_is_too_large_is_refused_in_the_same_shape(console: World) -> None:
    program = Program(console)
    _, taken = await program.upload(sheet(1))
    large = aiohttp.BytesIOPayload(
        io.BytesIO(b'{"ignore": ["' + b"x" * 2_000_000 + b'"]}'), content_type="application/json"
    )
    status, body = await program.ask("PATCH", f"/sheets/{taken['sheet']}", data=large)
    assert status == 413
    assert body["error"]["code"] == "too_large"


def test_a_run_counts_the_rows_of_every_status() -> None:
    assert set(Status) <= set(Run.model_fields)


def test_the_document_names_every_endpoint_and_no_other() -> None:
    described = {
        (method.upper(), path)
        for path, operations in api_models.document(api.OPERATIONS)["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert described == {(route.method, route.path) for route in api.OPERATIONS}


@contextmanager
def console_in_a_thread(folder: Path) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """A console in a thread of its own: its address, a token, and the ids of two sheets."""
    ready: list[tuple[str, str, tuple[str, str]]] = []
    up, down = threading.Event(), threading.Event()

    async def live() -> None:
        async with world(folder) as made:
            program = Program(made)
            _, good = await program.upload(sheet(3))
            _, read_otherwise = await program.upload(sheet(3))
            ready.append((made.browser.base, program.token, (good["sheet"], read_otherwise["sheet"])))
            up.set()
            await anyio.to_thread.run_sync(down.wait)

    thread = threading.Thread(target=anyio.run, args=(live,))
    thread.start()
    try:
        assert up.wait(60)
        yield ready[0]
    finally:
        down.set()
        thread.join(60)


@pytest.mark.slow
def test_the_console_keeps_what_its_document_says(tmp_path: Path) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings

    with console_in_a_thread(tmp_path) as (address, token, sheets):
        schema = schemathesis.openapi.from_dict(api_models.document(api.OPERATIONS))
        schema.config.update(base_url=address)
        seen = set()
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(
                max_examples=examples(10, soak=100),
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
                database=None,
            )
            @given(case=operation.as_strategy())
            def hold(case: Any) -> None:
                if "upload" in (case.path_parameters or {}):
                    case.path_parameters["upload"] = sheets[case.method == "PATCH"]
                answer = case.call(headers={"Authorization": f"Bearer {token}"})
                seen.add((case.method, answer.status_code))
                case.validate_response(
                    answer,
                    checks=[
                        schemathesis.checks.not_a_server_error,
                        schemathesis.specs.openapi.checks.status_code_conformance,
                        schemathesis.specs.openapi.checks.content_type_conformance,
                        schemathesis.specs.openapi.checks.response_schema_conformance,
                    ],
                )

            hold()
        assert {("GET", 200), ("POST", 202), ("PATCH", 200)} <= seen
