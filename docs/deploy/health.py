"""Whether the container is healthy, by its exit code: the image's health check runs this inside of it.

The console must answer. A container that runs a job is healthy as long as it runs.
"""

import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

WAIT_S = 4.0

ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a console may listen on all of them
"""Where to ask a console that listens on every address of its kind, or on the default one."""


def setting(arguments: Sequence[str], option: str, environment: Mapping[str, str], variable: str) -> str:
    """The value of an option of the command line, or of its variable; empty where neither is given."""
    for position, argument in enumerate(arguments):
        if argument == option:
            return "".join(arguments[position + 1 : position + 2])
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return environment.get(variable, "")


def address(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Where the console of a command line answers probes; empty for another command."""
    if "serve" not in arguments:
        return ""
    port = setting(arguments, "--port", environment, "BULKID_SERVE_PORT") or "8766"
    certificate = setting(arguments, "--certfile", environment, "BULKID_CERTFILE")
    host = setting(arguments, "--host", environment, "BULKID_SERVE_HOST").strip()
    host = ANY_ADDRESS.get(host, host)
    return f"{'https' if certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/health"


def main() -> int:
    """Ask the console of process 1."""
    arguments = Path("/proc/1/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    url = address(arguments, os.environ)
    if not url:
        return 0
    trusting = ssl._create_unverified_context()  # noqa: S323, SLF001 - this container's own loopback address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    try:
        with opener.open(url, timeout=WAIT_S) as answer:
            return 0 if answer.status == 200 else 1  # noqa: PLR2004
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
