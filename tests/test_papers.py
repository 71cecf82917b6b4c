"""Licence and security policy: what they say agrees with the package and with the tests."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LICENSE = (ROOT / "LICENSE").read_text(encoding="utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_the_package_has_the_licence_of_its_file() -> None:
    assert (PROJECT["license"], PROJECT["license-files"]) == ("MIT", ["LICENSE"])
    (author,) = PROJECT["authors"]
    assert LICENSE.startswith(f"MIT License\n\nCopyright (c) 2026 {author['name']}\n\nPermission is hereby granted")
    assert "WITHOUT WARRANTY OF ANY KIND" in LICENSE


def test_each_promise_of_the_security_policy_names_tests_that_exist() -> None:
    promises = [line for line in SECURITY.splitlines() if "`tests/" in line]
    assert len(promises) > 15
    named = re.findall(r"`(tests/[\w/.]+)`", SECURITY)
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
    for table in re.findall(r"^\|[^\n]*held by \|\n\|[-| ]+\|\n((?:\|[^\n]*\n)+)", SECURITY, re.MULTILINE):
        assert [line for line in table.splitlines() if "`tests/" not in line] == []


def test_the_security_policy_names_no_address() -> None:
    """An address that the developers do not have would take reports that they never read."""
    assert not re.search(r"[\w.]+@[\w-]+\.\w+|https?://", SECURITY)
