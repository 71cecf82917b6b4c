"""Login without a secret, from the settings to the server: what each command does, and that nothing shows the JWT."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bulkid.sandbox.options import FederatedCredential
from tests.support.assertions import FEDERATED, KEY, assertion_file
from tests.support.bulkid_command import Bulkid
from tests.support.command_output import assert_clear
from tests.support.sandbox_host import Hosted, hosted
from tests.support.sheets import sheet_of


def federated(at: str) -> FederatedCredential:
    return FederatedCredential(FEDERATED.issuer, FEDERATED.subject, FEDERATED.audience, KEY, at)


def signed_in(folder: Path, host: Hosted, **env: str) -> Bulkid:
    """The command, which signs in with the file ``jwt`` at an organisation's address."""
    settings = {"BULKID_URL": f"{host.origin}/acme", "BULKID_CLIENT_ID": "sandbox", "BULKID_MAX_CHANGE": "100%"}
    return Bulkid(folder, {**settings, "BULKID_CLIENT_ASSERTION_FILE": "jwt", **env})


def one_change(folder: Path, host: Hosted) -> None:
    account = next(iter(host.sandbox.state.accounts.values()))
    sheet_of(folder, [("id", "display name"), (account.id, "Renamed")])


def findings(bulkid: Bulkid) -> dict[str, dict[str, Any]]:
    return {each["subject"]: each for each in json.loads(bulkid("doctor", "--json").stdout)["findings"]}


@pytest.mark.parametrize("at", ["organization", "host"])
def test_a_run_signs_in_with_an_assertion_and_shows_it_nowhere(tmp_path: Path, at: str) -> None:
    with hosted(accounts=20, federated=federated(at)) as host:
        jwt = assertion_file(tmp_path / "jwt").read_text().strip()
        one_change(tmp_path, host)
        done = signed_in(tmp_path, host)("run", "sheet.csv", "--yes", "-vv", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["updated"] == 1
        assert json.loads(done.stdout)["requests"]["POST"] == (2 if at == "host" else 1)
        assert "client_assertion" not in done.stdout
    written = [each.read_bytes() for each in tmp_path.rglob("*") if each.is_file() and each.name != "jwt"]
    for part in (jwt, *jwt.split(".")[1:]):
        assert part not in done.stdout + done.stderr
        assert all(part.encode() not in content for content in written)
    assert len(written) >= 4


def test_doctor_says_how_bulkid_signs_in_and_until_when(tmp_path: Path) -> None:
    with hosted(accounts=20, federated=federated("both")) as host:
        jwt = assertion_file(tmp_path / "jwt").read_text().strip()
        shown = signed_in(tmp_path, host)("doctor")
        assert shown.returncode == 0
        login = findings(signed_in(tmp_path, host))["login"]
        assert login["ok"] is True
        assert login["detail"].startswith(f"client id and assertion (JWT) from {tmp_path / 'jwt'}: valid until ")
        assert jwt not in shown.stdout
        secret = Bulkid(
            tmp_path,
            {"BULKID_URL": host.url, "BULKID_CLIENT_ID": "sandbox", "BULKID_CLIENT_SECRET": "sandbox-secret"},
        )
        assert findings(secret)["login"]["detail"] == "client id and secret"
        token = Bulkid(tmp_path, {"BULKID_URL": host.url, "BULKID_ACCESS_TOKEN": "1234"})
        assert findings(token)["login"]["detail"] == "access token, used as it is given"


def test_what_is_wrong_with_the_file_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with hosted(accounts=20, federated=federated("both")) as host:
        bulkid = signed_in(tmp_path, host)
        one_change(tmp_path, host)
        done = bulkid("run", "sheet.csv", "--yes")
        assert_clear(done, 2, "BULKID_CLIENT_ASSERTION_FILE: the file that it names does not exist")
        assert [row["status"] for row in bulkid.report()] == ["pending"]
        (tmp_path / "jwt").write_text("hush-hush")
        login = findings(bulkid)["login"]
        assert (login["ok"], "is not a JWT" in login["detail"], "hush" in str(login)) == (False, True, False)
        assertion_file(tmp_path / "jwt", expires_at=time.time() - 60)
        assert "has expired at 20" in findings(bulkid)["login"]["detail"]
        assert_clear(bulkid("plan", "sheet.csv"), 3, "has expired at 20")
        assert host.served() == 0


def test_another_audience_is_refused_with_what_the_assertion_says(tmp_path: Path) -> None:
    with hosted(accounts=20, federated=federated("both")) as host:
        assertion_file(tmp_path / "jwt", aud="https://other.example.com")
        one_change(tmp_path, host)
        done = signed_in(tmp_path, host)("plan", "sheet.csv")
        assert_clear(done, 3, "refuses the credentials", "aud https://other.example.com")


def test_a_job_file_names_the_assertion_beside_it(tmp_path: Path) -> None:
    with hosted(accounts=20, federated=federated("both")) as host:
        one_change(tmp_path, host)
        (tmp_path / "jobs").mkdir()
        assertion_file(tmp_path / "jobs" / "jwt")
        lines = ('source = "../sheet.csv"', f'url = "{host.url}"', 'client_id = "sandbox"', 'max_change = "100%"')
        (tmp_path / "jobs" / "night.toml").write_text("\n".join([*lines, 'client_assertion_file = "jwt"']))
        done = Bulkid(tmp_path)("run", "jobs/night.toml", "--yes")
        assert done.returncode == 0, done.stderr
