"""The README's commands on a stock Debian or Ubuntu: a root of ``debootstrap``, with Python's venv and nothing else.

pip inside takes the settings of pip outside: its variables, its files and the files that these name.
"""

import configparser
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.bulkid_command import ROOT

CHROOT = shutil.which("chroot") or "chroot"
SCRIPTS = Path(os.environ.get("DEBOOTSTRAP_DIR", "/usr/share/debootstrap")) / "scripts"
PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")
PASSED_ON = ("PIP_", "HTTP_", "HTTPS_", "NO_PROXY", "SSL_CERT_FILE", "http_", "https_", "no_proxy")
HOME = "/home/ada"
MORE_THAN_THE_COMMANDS_S = 1200
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "reports", "site", "build"
)

A_PART_OF_DEV = "pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis"
A_PART_OF_THE_TESTS = "-n 0 tests/sheet/test_sheet_headers.py tests/config/test_config_values.py"


@dataclass(frozen=True)
class Distribution:
    """Whose releases the commands are run on; ``components`` are the parts of its archive that have Python's venv."""

    id: str
    keyring: Path
    components: str


DEBIAN = Distribution("debian", Path("/usr/share/keyrings/debian-archive-keyring.gpg"), "main")
UBUNTU = Distribution("ubuntu", Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"), "main,universe")
RELEASES = {"bookworm": DEBIAN, "trixie": DEBIAN, "noble": UBUNTU}


def _obstacle() -> str:
    """Why there can be no such root here; empty if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux makes a root file system"
    return "" if shutil.which("debootstrap") else "debootstrap is not installed"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.stock_debian,
    pytest.mark.timeout(MORE_THAN_THE_COMMANDS_S),
    pytest.mark.skipif(bool(_obstacle()), reason=_obstacle() or "none"),
]


def _need(distribution: Distribution, release: str) -> None:
    """Skip the test where this system cannot make a root of the release: Debian 12 has no keys of Ubuntu's archive."""
    if not distribution.keyring.exists():
        pytest.skip(f"the keys of the archive are not installed ({distribution.keyring.stem})")
    if not (SCRIPTS / release).exists():
        pytest.skip(f"this debootstrap does not know {release}")


def _mirror(distribution: Distribution) -> list[str]:
    """The mirror that this system takes the distribution's packages from; nothing for that of debootstrap."""
    if f"\nID={distribution.id}\n" not in f"\n{Path('/etc/os-release').read_text('utf-8')}":
        return []
    lists = sorted(Path("/etc/apt/sources.list.d").glob(f"{distribution.id}.*"))
    for path in (Path("/etc/apt/sources.list"), *lists):
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            words = [word for word in line.split() if not word.startswith(("[", "signed-by", "arch"))]
            if words[:1] in (["deb"], ["URIs:"]) and "security" not in line:
                return words[1:2]
    return []


def _pip_settings(path: Path) -> Iterator[Path]:
    """A settings file of pip, and the files that it names."""
    yield path
    settings = configparser.RawConfigParser()
    settings.read(path)
    for section in settings.sections():
        for value in dict(settings[section]).values():
            yield from (Path(word) for word in value.split() if word.startswith("/") and Path(word).is_file())


def _pass_on(root: Path) -> dict[str, str]:
    """Put the host's settings of pip and of the network into a root; give the environment of a new user there."""
    env = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    files = {Path(name) for name in (*NETWORK_FILES, *env.values()) if name.startswith("/") and Path(name).is_file()}
    homes: dict[Path, Path] = {}
    for name in PIP_FILES:
        if (path := Path(name).expanduser()).is_file():
            files.update(_pip_settings(path))
            if name.startswith("~"):
                homes[path] = Path(name.replace("~", HOME))
    for path in files:
        target = root / homes.get(path, path).relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(path, target)
    return {**env, "PATH": "/usr/bin:/bin", "HOME": HOME, "LANG": "C.UTF-8", "COLUMNS": "160"}


def _readme_command(number: int) -> str:
    script = [str(ROOT / ".ci" / "readme_command"), str(number)]
    return subprocess.run(script, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder on a disk: those of the other tests may be in memory, where the system allows no devices."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.mark.parametrize("release", RELEASES)
def test_the_readme_s_commands_work_on_a_stock_system(folder: Path, release: str) -> None:
    """The first as it stands; of the second, whose packages would take minutes, a part of the packages and tests."""
    distribution = RELEASES[release]
    _need(distribution, release)
    root = folder / release
    parts = ["--variant=minbase", f"--components={distribution.components}", "--include=python3,python3-venv"]
    command = ["debootstrap", *parts, release, str(root), *_mirror(distribution)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mounted with noexec or nodev" in made.stderr + made.stdout:
        pytest.skip(f"no root file system can be in {folder}: it is mounted with noexec or nodev")
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    env = _pass_on(root)
    shutil.copytree(ROOT, root / HOME.lstrip("/") / "bulkid", ignore=NOT_COPIED)
    user = [CHROOT, str(root)]
    subprocess.run([*user, "useradd", "--home-dir", HOME, "--no-create-home", "ada"], check=True)
    subprocess.run([*user, "chown", "-R", "ada:ada", HOME], check=True)

    def in_root(line: str) -> "subprocess.CompletedProcess[str]":
        words = [CHROOT, "--userspec=ada:ada", str(root), "/bin/bash", "-euc", f"cd {HOME}/bulkid; {line}"]
        return subprocess.run(words, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)

    refused = in_root("pip install .") if (root / "usr/bin/pip").exists() else in_root("python3 -m pip install .")
    assert refused.returncode != 0  # so that the environment is what makes the command work

    done = in_root(_readme_command(1))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "177 updated, 24 already correct" in done.stdout
    (summary,) = (root / HOME.lstrip("/") / "bulkid" / "reports").glob("*/summary.json")
    assert json.loads(summary.read_text("utf-8"))["updated"] == 177

    missing = in_root(".venv/bin/bulkid serve --sandbox")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert 'pip install "bulkid[console]"' in missing.stderr

    tests = _readme_command(2).rstrip().replace("'.[dev]'", f". {A_PART_OF_DEV}")
    assert A_PART_OF_DEV in tests
    done = in_root(f"{tests} {A_PART_OF_THE_TESTS}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    shutil.rmtree(root)
