"""The group of commands: how its list is shown, and how wrong arguments are told."""

from typing import Any

import typer
from typer.core import TyperGroup

from bulkid.printable import printable

_ClickUsageError: Any = typer.BadParameter.__base__  # click's UsageError, which typer does not name


class BulkidGroup(TyperGroup):
    """Shows the list of commands as plain text: panels would have it wait for rich's Markdown (2.2 times as long)."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - handed on as they are
        super().__init__(**{**arguments, "rich_markup_mode": None})

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own context, and whatever the command gives
        """Call the command; what is wrong with its arguments (file names among them) is told in printable text."""
        try:
            return super().invoke(ctx)
        except _ClickUsageError as error:
            error.message = printable(error.message)
            raise
