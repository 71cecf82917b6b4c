"""Plan files of older versions."""

from typing import Any


def in_version_1(account: dict[str, Any]) -> dict[str, Any]:
    """The JSON of an update as runs of older versions keep it in a cell."""
    before = {key: value for key, value in account["before"].items() if key != "last_login"}
    return {key: value for key, value in {**account, "before": before}.items() if key != "action"}
