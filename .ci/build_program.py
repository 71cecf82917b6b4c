"""Make the program that needs no Python: the folder ``dist/bulkid``, for the system that this runs on.

    python -m pip install '.[all]' pyinstaller
    python .ci/build_program.py [--out FOLDER]

PyInstaller finds the modules by their imports. What it cannot find that way is named here: bulkid's templates and other
data, and the modules that are imported by a computed name. The licences of all packages in it stand beside them.
"""

import argparse
import tempfile
from pathlib import Path

from PyInstaller.__main__ import run

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = ("psycopg", "apprise")
"""Packages that load modules or files of their own at run time, and are there only with some extras."""


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
                "--recursive-copy-metadata=bulkid",
                *(f"--collect-all={name}" for name in OPTIONAL),
                "--exclude-module=tkinter",
                "--log-level=WARN",
                str(ROOT / "bulkid" / "__main__.py"),
            ]
        )
    print(out / "bulkid")


if __name__ == "__main__":
    main()
