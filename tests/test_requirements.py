"""The locks hold what ``pyproject.toml`` asks for, whole and with hashes; SBOM and audit are made of them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bulkid import __version__

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


lock, sbom = _script("lock"), _script("sbom")
INPUTS: dict[str, str] = lock.read_inputs()
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.lock")}
LOCKED: dict[str, list[Any]] = {name: sbom.read_lock(text) for name, text in TEXTS.items()}


def _versions(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package in LOCKED[name]:
        found.setdefault(canonicalize_name(package.name), set()).add(package.version)
    return found


def test_there_is_a_lock_for_the_core_for_every_extra_and_for_the_build() -> None:
    assert TEXTS.keys() == INPUTS.keys()
    assert {"core", "console", "metrics", "notify", "postgres", "all", "dev", "docs", "build"} <= TEXTS.keys()


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_a_lock_fits_pyproject(name: str) -> None:
    """Write them again after a change of pyproject.toml: python requirements/lock.py."""
    wanted = {canonicalize_name(each.name): each for each in map(Requirement, INPUTS[name].splitlines())}
    direct = {canonicalize_name(each.name) for each in LOCKED[name] if sbom.ROOT in each.needed_by}
    assert direct == wanted.keys()
    for package, requirement in wanted.items():
        for version in _versions(name)[package]:
            assert requirement.specifier.contains(version), f"{package} {version} is none of {requirement}"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_lock_holds_versions_and_hashes_and_no_address(name: str) -> None:
    assert all(package.hashes for package in LOCKED[name])
    assert not re.search(r"://|@ |--(?:extra-)?index|--find-links|--trusted-host", TEXTS[name])


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_lock_is_whole(name: str) -> None:
    """What a locked package needs here is locked too, as far as the package is installed in its locked version."""
    versions = _versions(name)
    for package in versions:
        try:
            installed = distribution(package)
        except PackageNotFoundError:
            continue
        if installed.version not in versions[package]:
            continue
        for line in installed.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in versions, f"{package} needs {needed}"


def test_the_locks_are_parts_of_one_resolution() -> None:
    for name in TEXTS.keys() - {"dev"}:
        other = {package: versions for package, versions in _versions("dev").items() if package in _versions(name)}
        assert other.items() <= _versions(name).items(), f"{name} and dev differ"


def test_the_locks_are_for_every_python_that_bulkid_runs_on() -> None:
    assert f'requires-python = ">={lock.LOWEST_PYTHON}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_line_that_is_none_of_a_lock_is_refused() -> None:
    with pytest.raises(ValueError, match="index-url"):
        sbom.read_lock("--index-url somewhere\n")


# --- the SBOM


def _run(script: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(FOLDER / f"{script}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})


def test_the_sbom_holds_each_package_of_the_lock_and_who_needs_it() -> None:
    printed = _run("sbom", "all").stdout
    made = json.loads(printed)
    assert (made["bomFormat"], made["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    purls = [component["purl"] for component in made["components"]]
    assert purls == [f"pkg:pypi/{package.name}@{package.version}" for package in LOCKED["all"]]
    known = {"bulkid", *purls}
    assert {each["ref"] for each in made["dependencies"]} == known
    needed = {other for each in made["dependencies"] for other in each["dependsOn"]}
    assert needed == set(purls)  # nothing is there that no other needs
    reads = next(each for each in made["dependencies"] if each["ref"].startswith("pkg:pypi/aiohttp@"))
    assert any(other.startswith("pkg:pypi/yarl@") for other in reads["dependsOn"])
    again = sbom.make_sbom(LOCKED["all"], __version__)  # in another process, with other hashes
    assert printed == json.dumps(again, indent=2, ensure_ascii=False) + "\n"


def test_the_sbom_names_the_licence_of_what_is_installed() -> None:
    installed = sbom.Locked("rich", distribution("rich").version, "")
    assert "MIT" in json.dumps(sbom._licences(installed))
    assert sbom._licences(sbom.Locked("rich", "0.0.1", "")) == []
    assert sbom._licences(sbom.Locked("no-such-package", "1", "")) == []


def test_the_sbom_fits_its_schema() -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-python-lib is not installed")
    schema = pytest.importorskip("cyclonedx.schema").SchemaVersion.V1_6
    text = json.dumps(sbom.make_sbom(LOCKED["all"], __version__))
    assert validation.JsonStrictValidator(schema).validate_str(text) is None
    assert _versions("core").keys() <= _versions("all").keys(), "so the SBOM of the core has no other kind of entry"


# --- the audit


def _audit(folder: Path, answer: str) -> "subprocess.CompletedProcess[str]":
    """Run the script beside a pip-audit that prints an answer."""
    folder.mkdir()
    program = folder / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({answer!r})\n", encoding="utf-8")
    program.chmod(0o755)
    return _run("audit", "build", PATH=str(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for pip-audit is a script")
def test_the_audit_says_what_is_known_and_what_could_not_be_checked(tmp_path: Path) -> None:
    packages = [{"name": each.name, "version": each.version, "vulns": []} for each in LOCKED["build"]]
    done = _audit(tmp_path / "clean", json.dumps({"dependencies": packages}))
    assert (done.returncode, done.stdout) == (0, f"No vulnerability is known in {len(packages)} packages.\n")

    weak = [{**packages[0], "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.9"]}]}, *packages[1:]]
    done = _audit(tmp_path / "weak", json.dumps({"dependencies": weak}))
    assert done.returncode == 1
    assert f"{packages[0]['name']} {packages[0]['version']}: PYSEC-1, mended in 9.9\n" in done.stdout

    unknown = [{"name": packages[0]["name"], "skip_reason": "not found"}, *packages[1:]]
    done = _audit(tmp_path / "unknown", json.dumps({"dependencies": unknown}))
    assert (done.returncode, done.stdout[:12]) == (2, "Not checked:")

    done = _audit(tmp_path / "silent", "")
    assert (done.returncode, done.stdout[:12]) == (2, "Not checked:")


def test_the_audit_says_that_pip_audit_is_missing(tmp_path: Path) -> None:
    done = _run("audit", "build", PATH=str(tmp_path))
    assert (done.returncode, done.stdout[:12]) == (2, "Not checked:")
