"""Checks a lock for known vulnerabilities: python requirements/audit.py [EXTRA]; it needs pip-audit and a network.

Exit codes: 0 none is known; 1 some are; 2 not checked (no pip-audit, or its database is not reached from here).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from sbom import FOLDER, Locked, read_lock

EXIT_NONE: Final = 0
EXIT_VULNERABLE: Final = 1
EXIT_NOT_CHECKED: Final = 2


def audit(packages: list[Locked], service: str) -> list[dict[str, Any]]:
    """What pip-audit says of each package, for all platforms.

    Raises:
        OSError: It gives no answer; the error says why.
    """
    versions: dict[str, list[str]] = defaultdict(list)
    for package in packages:
        versions[package.name].append(package.version)  # several where a newer Python takes a newer one
    found: list[dict[str, Any]] = []
    for number in range(max(map(len, versions.values()))):  # pip-audit takes one version of each at a time
        found += _audit({name: each[number] for name, each in versions.items() if number < len(each)}, service)
    return found


def _audit(versions: dict[str, str], service: str) -> list[dict[str, Any]]:
    command = ["pip-audit", "--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "requirements.txt")
        path.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
        command += ["--vulnerability-service", service, "--requirement", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise OSError(said[-1]) from None
    return found


def report(found: list[dict[str, Any]], count: int) -> int:
    """Print what was found; give the exit code."""
    weak = [(each, weakness) for each in found for weakness in each.get("vulns", ())]
    for each, weakness in weak:
        mended = ", ".join(weakness["fix_versions"]) or "no version yet"
        print(f"{each['name']} {each['version']}: {weakness['id']}, mended in {mended}")
    checked = [each for each in found if "skip_reason" not in each]
    if weak:
        return EXIT_VULNERABLE
    if len(checked) < count:
        print(f"Not checked: the database does not answer about {count - len(checked)} of {count} packages.")
        return EXIT_NOT_CHECKED
    print(f"No vulnerability is known in {count} packages.")
    return EXIT_NONE


def main() -> int:
    """Check the lock of an extra."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("extra", nargs="?", default="all", choices=sorted(path.stem for path in FOLDER.glob("*.lock")))
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="the database to ask")
    given = parser.parse_args()
    if shutil.which("pip-audit") is None:
        print("Not checked: pip-audit is not installed (pip install pip-audit).")
        return EXIT_NOT_CHECKED
    packages = read_lock((FOLDER / f"{given.extra}.lock").read_text(encoding="utf-8"))
    try:
        found = audit(packages, given.service)
    except OSError as error:
        print(f"Not checked: pip-audit got no answer from the database: {error}")
        return EXIT_NOT_CHECKED
    return report(found, len(packages))


if __name__ == "__main__":
    sys.exit(main())
