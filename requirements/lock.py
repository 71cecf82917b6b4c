"""Locks what pyproject.toml asks for: python requirements/lock.py [--upgrade]; it needs uv (pip install uv).

Each file locks one extra with versions and hashes, for every platform and Python that bulkid supports, and names no
address. All of them agree: they are parts of one resolution.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
PYPROJECT: Final = FOLDER.parent / "pyproject.toml"
LOWEST_PYTHON: Final = "3.11"  # requires-python; a test compares them
HEADER: Final = "# Written by: python requirements/lock.py\n"


def read_inputs() -> dict[str, str]:
    """What each lock is made of: requirements, as one text, by the lock's name."""
    document = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    project, extras = document["project"], document["project"]["optional-dependencies"]
    lines = {"core": project["dependencies"]}
    lines |= {extra: [*project["dependencies"], *_flat(extra, extras)] for extra in extras}
    lines["build"] = document["build-system"]["requires"]
    return {name: "\n".join(dict.fromkeys(each)) for name, each in lines.items()}


def _flat(extra: str, extras: dict[str, list[str]]) -> list[str]:
    """The requirements of an extra and of the extras that it names, as in ``bulkid[console,metrics]``."""
    found: list[str] = []
    for line in extras[extra]:
        if line.startswith("bulkid["):
            for other in line.removeprefix("bulkid[").removesuffix("]").split(","):
                found += _flat(other, extras)
        else:
            found.append(line)
    return found


def _compile(requirements: str, *, constraints: str = "", kept: str = "") -> str:
    """Resolve requirements to a lock. What uv says is shown; where it finds no solution the program ends.

    Args:
        requirements: One a line.
        constraints: Versions that must be taken.
        kept: Versions that are taken where they fit.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = {"bulkid.in": requirements, "constraints.txt": constraints, "bulkid.lock": kept}
        for name, text in files.items():
            Path(scratch, name).write_text(text, encoding="utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", LOWEST_PYTHON, "--no-header"]
        command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--annotation-style", "split"]
        command += ["--constraints", "constraints.txt", "--output-file", "bulkid.lock", "bulkid.in"]
        done = subprocess.run(command, cwd=scratch, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        locked = Path(scratch, "bulkid.lock").read_text(encoding="utf-8")
    annotations = re.compile(r"^ +#   -c constraints\.txt\n", re.MULTILINE).sub("", locked)
    return annotations.replace("-r bulkid.in", "bulkid")


def _versions(locked: str) -> str:
    """The lines of a lock that choose versions, without hashes and annotations."""
    return "\n".join(line.removesuffix("\\").rstrip() for line in locked.splitlines() if line[:1].isalnum())


def main() -> None:
    """Write every lock again. Versions stay as they are where they still fit, except with --upgrade."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    is_upgrade = parser.parse_args().upgrade
    if shutil.which("uv") is None:
        sys.exit("requirements/lock.py needs uv: pip install uv")
    inputs = read_inputs()
    kept = "" if is_upgrade else "\n".join(_versions(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.lock")))
    everything = _versions(_compile("\n".join(inputs.values()), kept=kept))
    for name, requirements in inputs.items():
        locked = _compile(requirements, constraints=everything)
        (FOLDER / f"{name}.lock").write_text(f"{HEADER}{locked}", encoding="utf-8")
        print(f"requirements/{name}.lock: {len(_versions(locked).splitlines())} packages")


if __name__ == "__main__":
    main()
