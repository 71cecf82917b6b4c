"""The files with which bulkid is deployed: manifests, units, the task, the image and the workflows.

Their formats are checked by the schemas of Kubernetes and Compose and by systemd itself. ``.ci/check_image`` builds
the image and runs it, ``.ci/check_program.py`` does the same for the program without Python.
"""

import importlib.util
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import Any

import pytest
import yaml

from bulkid import __version__
from bulkid.config.settings import SETTINGS
from bulkid.jobfile.read import read_job
from tests.support.bulkid_command import LONGEST_S
from tests.support.programs import missing, program

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "docs" / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").iterdir())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VARIABLES = {entry.env: entry for entry in SETTINGS}
OPTIONS = {entry.option for entry in SETTINGS}
HEALTH = "/health"


def tool(name: str) -> ModuleType:
    """A module of the extra ``deploy``; the test is skipped where it is missing, or fails with BULKID_REQUIRE_ALL=1."""
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is missing: pip install -e '.[deploy]'")
    return importlib.import_module(name)


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


RESOURCES = [(path.name, document) for path in MANIFESTS for document in documents(path)]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods of all manifests, each with the name of its resource."""
    for _, document in RESOURCES:
        spec = document.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield document["metadata"]["name"], template["spec"]


PODS = dict(pods())


# --- Kubernetes


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_takes_the_manifests(path: Path) -> None:
    kubernetes = tool("kubernetes_validate")
    for document in documents(path):
        for version in ("1.30", kubernetes.latest_version()):
            kubernetes.validate(document, version, strict=True)


def test_the_schema_refuses_a_misspelt_field() -> None:
    kubernetes = tool("kubernetes_validate")
    (job,) = (document for _, document in RESOURCES if document["kind"] == "CronJob")
    wrong = job | {"spec": job["spec"] | {"shedule": "* * * * *"}}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(wrong, kubernetes.latest_version(), strict=True)


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_pod_has_no_rights_that_it_does_not_need(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_pod_mounts_what_it_names_and_what_is_there(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert {"/state", "/tmp"} <= mounted  # noqa: S108 - the pod's own
    there = {(document["kind"], document["metadata"]["name"]) for _, document in RESOURCES}
    for volume in pod["volumes"]:
        needed = {
            ("Secret", volume.get("secret", {}).get("secretName")),
            ("ConfigMap", volume.get("configMap", {}).get("name")),
            ("PersistentVolumeClaim", volume.get("persistentVolumeClaim", {}).get("claimName")),
        }
        missing = {(kind, name) for kind, name in needed if name} - there
        assert missing <= {("Secret", "bulkid-console-tls")}  # a certificate's own, which no manifest can hold


def test_the_files_of_settings_are_keys_of_the_secrets() -> None:
    secrets = {
        document["metadata"]["name"]: set(document["stringData"])
        for _, document in RESOURCES
        if document["kind"] == "Secret"
    } | {"bulkid-console-tls": {"tls.crt", "tls.key"}}
    checked = 0
    for pod in PODS.values():
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        places = {
            mount["mountPath"]: volumes[mount["name"]]["secret"]["secretName"]
            for mount in container["volumeMounts"]
            if "secret" in volumes[mount["name"]]
        }
        for entry in container.get("env", ()):
            assert entry["name"] in VARIABLES
            path = PurePosixPath(entry["value"])
            if path.is_relative_to("/run"):
                assert path.name in secrets[places[str(path.parent)]]
                checked += 1
    assert checked == 5


def test_the_job_of_the_manifest_is_one(tmp_path: Path) -> None:
    (config,) = (document for _, document in RESOURCES if document["kind"] == "ConfigMap")
    ((name, text),) = config["data"].items()
    (tmp_path / name).write_text(text, encoding="utf-8")
    job = read_job(str(tmp_path / name))
    assert job.name == "nightly"
    (container,) = PODS["bulkid-nightly"]["containers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"][:2] == ["run", f"/etc/bulkid/{name}"]
    assert {"/etc/bulkid", "/data/inbox", "/reports"} <= mounts
    assert 'folder = "/data/inbox"' in text


def test_the_probes_ask_for_what_the_console_answers() -> None:
    from bulkid.web.server import ROUTES

    (container,) = PODS["bulkid-console"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == VARIABLES["BULKID_SERVE_PORT"].default
    (route,) = (route for route in ROUTES if route.path == HEALTH)
    assert route.role is None
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": HEALTH, "port": port["name"], "scheme": "HTTPS"}


def test_the_service_leads_to_the_console() -> None:
    (service,) = (document for _, document in RESOURCES if document["kind"] == "Service")
    (deployment,) = (document for _, document in RESOURCES if document["kind"] == "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels


# --- Compose


COMPOSE = DEPLOY / "compose" / "compose.yaml"


def test_compose_takes_its_file() -> None:
    tool("check_jsonschema")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_gives_each_service_what_it_uses() -> None:
    (compose,) = documents(COMPOSE)
    used: dict[str, set[str]] = {"secrets": set(), "volumes": set(), "networks": set()}
    for service in compose["services"].values():
        for kind, names in used.items():
            names |= {
                str(each).partition(":")[0] for each in service.get(kind, ()) if not str(each).startswith((".", "/"))
            }
        variables = service["environment"]
        assert {name for name in variables if name.startswith("BULKID_")} <= VARIABLES.keys()
        for value in variables.values():
            if str(value).startswith("/run/secrets/"):
                name = str(value).removeprefix("/run/secrets/")
                assert name in service["secrets"]
    assert {kind: set(compose[kind]) for kind in used} == used
    console = compose["services"]["console"]
    assert console["read_only"] is True
    assert console["cap_drop"] == ["ALL"]
    assert compose["networks"]["inside"]["internal"] is True
    database = compose["services"]["database"]
    assert database["networks"] == ["inside"]
    # PostgreSQL answers on its socket while it is set up, and then stops once more.
    assert "--host" in database["healthcheck"]["test"]


# --- systemd


def test_the_units_of_the_docs_are_the_files() -> None:
    page = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")
    shown = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    assert shown == [
        (DEPLOY / "systemd" / name).read_text(encoding="utf-8") for name in ("bulkid@.service", "bulkid@.timer")
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_names_settings_and_options_that_exist(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    assert set(re.findall(r"BULKID_[A-Z_]+", text)) <= VARIABLES.keys()
    for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
        program, command, *rest = shlex.split(line)
        assert (program, command) in {("/opt/bulkid/bin/bulkid", "run"), ("/opt/bulkid/bin/bulkid", "serve")}
        assert {each for each in rest if each.startswith("--")} <= OPTIONS
    credentials = dict(re.findall(r"^LoadCredential=(\w+):(.*)$", text, re.MULTILINE))
    assert set(re.findall(r"%d/(\w+)", text)) == credentials.keys()


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("/opt/bulkid/bin/bulkid", "/bin/true")
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- the Windows Task Scheduler

TASK = DEPLOY / "windows" / "bulkid_nightly.xml"
NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
PARTS = {"RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"}
TRIGGER = (
    "Enabled",
    "StartBoundary",
    "EndBoundary",
    "Repetition",
    "ExecutionTimeLimit",
    "RandomDelay",
    "ScheduleByDay",
)
"""The parts of a trigger in the order of the schema, which is free in the other elements."""
DURATION = re.compile(r"P(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+S)?)?")


def _task() -> dict[str, str]:
    """The texts of the task, each by the path of its element."""
    tree = ET.fromstring(TASK.read_bytes())  # noqa: S314 - a file of the repository
    assert (tree.tag, tree.get("version")) == (f"{{{NAMESPACE}}}Task", "1.2")
    found: dict[str, str] = {}

    def walk(element: ET.Element, path: str) -> None:
        assert element.tag.startswith(f"{{{NAMESPACE}}}")
        name = f"{path}/{element.tag.partition('}')[2]}".removeprefix("/Task/")
        assert name not in found
        found[name] = (element.text or "").strip()
        for child in element:
            walk(child, name)

    walk(tree, "")
    assert {path.partition("/")[0] for path in found if path != "/Task"} == PARTS
    return found


def test_the_task_is_one_that_the_task_scheduler_takes() -> None:
    task = _task()
    assert not TASK.read_bytes().startswith(b"\xef\xbb\xbf")
    assert "encoding=" not in TASK.read_text(encoding="utf-8").partition("?>")[0], "PowerShell hands it on as UTF-16"
    trigger = [path.removeprefix("Triggers/CalendarTrigger/") for path in task if path.startswith("Triggers/Calendar")]
    assert [each for each in trigger if each in TRIGGER] == sorted(
        set(TRIGGER).intersection(trigger), key=TRIGGER.index
    )
    datetime.fromisoformat(task["Triggers/CalendarTrigger/StartBoundary"])
    assert task["Triggers/CalendarTrigger/ScheduleByDay/DaysInterval"] == "1"
    assert DURATION.fullmatch(task["Settings/ExecutionTimeLimit"])
    assert task["Settings/MultipleInstancesPolicy"] == "IgnoreNew"
    assert task["Principals/Principal/LogonType"] == "Password"
    assert task["Principals/Principal/RunLevel"] == "LeastPrivilege"
    switches = [
        path for path in task if re.search(r"/(Enabled|\w+OnBatteries|\w+Batteries|Allow\w+|Start\w+Available)$", path)
    ]
    assert len(switches) >= 5
    assert {task[path] for path in switches} <= {"true", "false"}


def test_the_task_starts_a_job_of_bulkid() -> None:
    task = _task()
    assert PureWindowsPath(task["Actions/Exec/Command"]) == PureWindowsPath("C:/bulkid/bulkid.exe")
    command, job, *options = task["Actions/Exec/Arguments"].split()
    assert command == "run"
    assert PureWindowsPath(job).suffix == ".toml"
    assert set(options) <= OPTIONS


# --- the image


def _health() -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", DEPLOY / "health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("command", "environment", "address"),
    [
        ("bulkid run sheet.csv", {}, ""),
        ("bulkid serve", {}, "http://127.0.0.1:8766/health"),
        ("/sbin/init -- bulkid serve --sandbox", {}, "http://127.0.0.1:8766/health"),
        ("bulkid serve --port 80 --certfile a.pem", {}, "https://127.0.0.1:80/health"),
        ("bulkid serve --port=80", {"BULKID_CERTFILE": "a.pem"}, "https://127.0.0.1:80/health"),
        ("bulkid serve", {"BULKID_SERVE_PORT": "81", "BULKID_CERTFILE": ""}, "http://127.0.0.1:81/health"),
        ("bulkid serve", {"BULKID_SERVE_HOST": "0.0.0.0"}, "http://127.0.0.1:8766/health"),  # noqa: S104
        ("bulkid serve", {"BULKID_SERVE_HOST": "10.89.0.7"}, "http://10.89.0.7:8766/health"),
        ("bulkid serve --host ::", {"BULKID_SERVE_HOST": "10.89.0.7"}, "http://[::1]:8766/health"),
        ("bulkid serve --host=fd00::7", {}, "http://[fd00::7]:8766/health"),
    ],
)
def test_the_health_check_asks_the_console_where_it_listens(
    command: str, environment: Mapping[str, str], address: str
) -> None:
    assert _health().address(command.split(), environment) == address


def test_the_image_runs_without_rights_and_keeps_its_state_in_volumes() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    last = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    assert 'VOLUME ["/state", "/reports"]' in last
    assert dict(re.findall(r"(BULKID_[A-Z_]+)=(\S+)", last)) == {
        "BULKID_STATE_DIR": "/state",
        "BULKID_REPORT_DIR": "/reports",
    }
    assert f"EXPOSE {VARIABLES['BULKID_SERVE_PORT'].default}\n" in last
    assert f"ARG VERSION={__version__}\n" in last
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]
    assert len(re.findall(r"pip.* install ", text)) == text.count("--require-hashes") + text.count(
        "--no-index --no-deps"
    )


def test_the_image_gets_nothing_but_what_it_copies() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = " ".join(copied).split()
    assert sorted({re.sub(r"/\w+\.lock", "/*.lock", name) for name in names}) == sorted(kept)


# --- the workflows


def _steps(workflow: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_every_action_is_pinned_by_its_hash_and_each_in_one_version() -> None:
    pins = {
        (name, pinned, version)
        for path in WORKFLOWS
        for name, pinned, version in re.findall(
            r"uses: (\S+)@(\S+)(?:  # (v\d+\.\d+\.\d+))?$", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert len(pins) == len({name for name, *_ in pins}) >= 6
    assert all(re.fullmatch(r"[0-9a-f]{40}", pinned) and version for _, pinned, version in pins), pins


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_nothing_that_a_job_does_not_ask_for(path: Path) -> None:
    (workflow,) = documents(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 60
        writes = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert not writes or name in {"image", "publish", "release"}, name
        if any("pip install" in step.get("run", "") for step in job["steps"]):
            assert not writes, "a job that runs code from the package index may write nothing"
    for step in _steps(workflow):
        assert "${{" not in step.get("run", ""), "a script takes values from variables, not by pasting them in"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_files_that_a_workflow_uses_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:requirements|\.ci|sample_data)/[\w.]+", text))
    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
    assert not re.search(r"--requirement|-r (?!requirements/\w+\.lock)", text)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_builds_bulkid_with_what_the_lock_of_the_build_names(path: Path) -> None:
    lines = re.findall(r"pip install .*--no-build-isolation.*", path.read_text(encoding="utf-8"))
    assert lines
    locked = (ROOT / "requirements" / "build.lock").read_text(encoding="utf-8")
    for line in lines:  # hatchling needs one package more for an editable installation
        assert not {"-e", "--editable"} & set(line.split()) or "\neditables==" in locked


def test_the_release_names_the_image_by_its_digest() -> None:
    (workflow,) = documents(ROOT / ".github" / "workflows" / "release.yml")
    image, release = workflow["jobs"]["image"], workflow["jobs"]["release"]
    assert image["outputs"] == {"reference": "${{ steps.push.outputs.name }}@${{ steps.push.outputs.digest }}"}
    assert "image" in release["needs"]
    (step,) = (step for step in release["steps"] if step.get("name") == "Create the release")
    assert step["env"]["IMAGE"] == "${{ needs.image.outputs.reference }}"
    assert '"$IMAGE"' in step["run"]


def test_the_tests_run_on_each_system_and_python() -> None:
    (workflow,) = documents(ROOT / ".github" / "workflows" / "test.yml")
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert {system.partition("-")[0] for system in matrix["system"]} == {"ubuntu", "windows", "macos"}
