"""Make the program that needs no Python: the folder ``dist/bulkid``, for the system that this runs on.

    python -m pip install '.[all]' pyinstaller
    python .ci/build_program.py [--out FOLDER]

PyInstaller finds the modules by their imports. What it cannot find that way is named here: bulkid's templates and other
data, and the modules that are imported by a computed name. The licences of all packages in it stand beside them.
"""

import argparse
import re
import tempfile
from importlib import metadata
from pathlib import Path

from PyInstaller.__main__ import run

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = ("psycopg", "apprise")
"""Packages that load modules or files of their own at run time, and are there only with some extras."""


def installed(name: str) -> set[str]:
    """The installed packages that a package and its extras need, with the package itself."""
    waiting, found = [name], set[str]()
    while waiting:
        try:
            package = metadata.distribution(waiting.pop())
        except metadata.PackageNotFoundError:  # of another system, or of an extra that is not installed
            continue
        if package.name not in found:
            found.add(package.name)
            waiting += [
                re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in package.requires or () if _is_needed(line)
            ]
    return found


def _is_needed(requirement: str) -> bool:
    """Whether a program contains it: all but what only developers install."""
    return not re.search(r"extra == .(dev|docs|deploy|test|tests)\b", requirement)


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description="Make the program that needs no Python.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder that gets the folder bulkid")
    out = parser.parse_args().out.resolve()
    with tempfile.TemporaryDirectory() as work:
        run(
            [
                "--noconfirm",
                "--onedir",
                "--console",
                "--name=bulkid",
                f"--distpath={out}",
                f"--workpath={work}",
                f"--specpath={work}",
                "--collect-data=bulkid",
                "--collect-submodules=bulkid",
                *(f"--copy-metadata={name}" for name in sorted(installed("bulkid"))),
                *(f"--collect-all={name}" for name in OPTIONAL),
                "--exclude-module=tkinter",
                "--log-level=WARN",
                str(ROOT / "bulkid" / "__main__.py"),
            ]
        )
    print(out / "bulkid")


if __name__ == "__main__":
    main()
