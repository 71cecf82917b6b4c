"""The examples of ``docs/deploy``: valid YAML, settings that exist, and files that fit one another."""

import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from bulkid.config.settings import SETTINGS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "deploy"
VARIABLES = {entry.env for entry in SETTINGS}


def documents(name: str) -> list[Any]:
    """The YAML documents that a page shows."""
    shown = re.findall(r"```yaml\n(.*?)```", (FOLDER / name).read_text(encoding="utf-8"), re.DOTALL)
    assert shown
    return [document for text in shown for document in yaml.safe_load_all(text)]


def steps() -> list[dict[str, Any]]:
    (workflow,) = documents("github_actions.md")
    return list(workflow["jobs"]["update"]["steps"])


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.name)
def test_every_example_is_yaml_and_names_settings_that_exist(page: Path) -> None:
    assert all(isinstance(document, dict) for document in documents(page.name))
    named = set(re.findall(r"\bBULKID_[A-Z_]+", page.read_text(encoding="utf-8")))
    assert "BULKID_CLIENT_ASSERTION_FILE" in named
    assert named <= VARIABLES
    assert not any("SECRET" in name for name in named)


def test_the_workflow_may_ask_for_a_token_and_do_little_else() -> None:
    (workflow,) = documents("github_actions.md")
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    for step in steps():
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40))
        assert "${{" not in step.get("run", ""), "a script takes values from variables, not by pasting them in"


def test_the_script_of_the_workflow_is_one_and_writes_where_bulkid_reads() -> None:
    step = next(step for step in steps() if step.get("name") == "Run bulkid")
    script = step["run"]
    assert '> "$BULKID_CLIENT_ASSERTION_FILE.new"' in script
    assert {"AUDIENCE", "BULKID_CLIENT_ASSERTION_FILE"} <= step["env"].keys()
    if (bash := shutil.which("bash")) is not None:
        done = subprocess.run([bash, "-n"], input=script.encode(), capture_output=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, b"")


def test_the_pod_reads_the_token_that_the_cluster_projects() -> None:
    account, job = documents("kubernetes.md")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (account["kind"], job["kind"]) == ("ServiceAccount", "CronJob")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert account["metadata"]["namespace"] == job["metadata"]["namespace"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    (source,) = volumes["identity"]["projected"]["sources"]
    env = {each["name"]: each["value"] for each in container["env"]}
    token = PurePosixPath(mounts["identity"]) / source["serviceAccountToken"]["path"]
    assert env["BULKID_CLIENT_ASSERTION_FILE"] == str(token)
    assert source["serviceAccountToken"]["audience"]
    assert source["serviceAccountToken"]["expirationSeconds"] >= 600  # the least that Kubernetes takes
    for place in ("BULKID_STATE_DIR", "BULKID_REPORT_DIR"):  # the image's own are not in this pod's volume
        assert env[place].startswith(f"{mounts['data']}/")


def test_the_pod_runs_without_rights_that_it_does_not_need() -> None:
    _, job = documents("kubernetes.md")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
