"""The live display of a run's progress, on a terminal that moves its cursor."""

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from bulkid.cli.progress_line import progress_line

REFRESH_INTERVAL_S = 0.2


class _LineColumn(ProgressColumn):
    """The line of a run's progress, in the columns that the others leave."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def render(self, task: Task) -> Text:
        return progress_line(task.fields["snapshot"], self._width)


def progress_bar(err: Console, name_width: int = 0) -> Bar:
    """A display of a line for each task, with its name where names have a width."""
    name_column = Column(no_wrap=True, min_width=name_width, max_width=name_width)
    beside = 2 + (name_width + 1 if name_width else 0)  # the spinner and the name, each with a blank
    return Bar(
        SpinnerColumn(),
        *([TextColumn("{task.description}", markup=False, table_column=name_column)] if name_width else []),
        _LineColumn(err.width - beside),
        console=err,
        transient=True,
        auto_refresh=name_width > 0,  # a display of several jobs outlives the progress of each
        refresh_per_second=1 / REFRESH_INTERVAL_S,
        redirect_stdout=not name_width,
        redirect_stderr=not name_width,
    )
