"""Prints a CycloneDX SBOM of a lock: python requirements/sbom.py [EXTRA]; the extra is "all" unless given.

Names, versions, hashes and dependencies are those of the lock. Licences are added for the packages that are installed
in the same version beside this Python: run it where bulkid is installed from that lock.
"""

import argparse
import json
import re
import sys
import uuid
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent
ROOT: Final = "bulkid"
_PACKAGE: Final = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?==(?P<version>[^ ;]+)(?: ; (?P<marker>[^\\]+?))? *\\?$")
_LONGEST_LICENCE: Final = 80  # characters; longer fields hold the whole text


@dataclass(slots=True)
class Locked:
    """One package of a lock."""

    name: str
    version: str
    marker: str
    hashes: list[str] = field(default_factory=list)  # SHA-256, of each file of this version
    needed_by: list[str] = field(default_factory=list)  # names; ROOT for bulkid itself

    @property
    def purl(self) -> str:
        """The package URL, which identifies the package in an SBOM."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(text: str) -> list[Locked]:
    """The packages of a lock.

    Raises:
        ValueError: A line is none that ``lock.py`` writes.
    """
    found: list[Locked] = []
    for line in text.splitlines():
        if package := _PACKAGE.match(line):
            found.append(Locked(package["name"], package["version"], package["marker"] or ""))
        elif hashed := re.match(r" +--hash=sha256:([0-9a-f]{64})", line):
            found[-1].hashes.append(hashed[1])
        elif needed := re.match(r" +#   ([\w.-]+)", line):
            found[-1].needed_by.append(needed[1])
        elif not re.match(r" *#|$", line):
            raise ValueError(f"not a line of a lock: {line}")
    return found


def make_sbom(packages: list[Locked], version: str) -> dict[str, Any]:
    """The SBOM as CycloneDX 1.6. The same lock and environment give the same one."""
    root = {
        "type": "application",
        "bom-ref": ROOT,
        "name": ROOT,
        "version": version,
        "purl": f"pkg:pypi/{ROOT}@{version}",
        "licenses": [{"license": {"id": "MIT"}}],
    }
    components = [_component(package) for package in packages]
    bom_refs = {
        name: sorted(each.purl for each in packages if name in each.needed_by)
        for name in (ROOT, *(package.name for package in packages))
    }
    depends = [{"ref": ROOT, "dependsOn": bom_refs[ROOT]}]
    depends += [{"ref": package.purl, "dependsOn": bom_refs[package.name]} for package in packages]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([root, components], sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": depends,
    }


def _component(package: Locked) -> dict[str, Any]:
    files = [{"alg": "SHA-256", "content": each} for each in package.hashes]
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "externalReferences": [{"type": "distribution", "url": package.purl, "hashes": files}],
    }
    if package.marker:
        made["properties"] = [{"name": "python:environment-marker", "value": package.marker}]
    if licences := _licences(package):
        made["licenses"] = licences
    return made


def _licences(package: Locked) -> list[dict[str, Any]]:
    """What the installed package says of its licence; empty where it says nothing or is not installed."""
    try:
        said = metadata.metadata(package.name)
    except metadata.PackageNotFoundError:
        return []
    if said["Version"] != package.version:
        return []
    if "License-Expression" in said:
        return [{"expression": said["License-Expression"]}]
    classifiers = [
        each.rpartition(" :: ")[2] for each in said.get_all("Classifier") or () if each.startswith("License ::")
    ]
    text = said["License"].strip() if "License" in said else ""
    names = classifiers or ([text] if text and "\n" not in text and len(text) <= _LONGEST_LICENCE else [])
    return [{"license": {"name": name}} for name in names]


def main() -> None:
    """Print the SBOM."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    known = sorted(path.stem for path in FOLDER.glob("*.lock"))
    parser.add_argument("extra", nargs="?", default="all", choices=known)
    extra = parser.parse_args().extra
    source = (FOLDER.parent / "bulkid" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    packages = read_lock((FOLDER / f"{extra}.lock").read_text(encoding="utf-8"))
    json.dump(make_sbom(packages, version), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
