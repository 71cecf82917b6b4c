"""A report format that bulkid does not have: the names of a report's rows, one per line."""

from collections.abc import Sequence

from bulkid.model import ReportRow
from bulkid.report.formats import ReportContent, ReportFormat


class NamesFile:
    """``names.txt``."""

    def __init__(self, content: ReportContent) -> None:
        from bulkid.report.atomic import AtomicFile

        self.target = AtomicFile(content.folder, "names.txt")
        self._path = self.target.begin()

    def write(self, rows: Sequence[ReportRow]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{row.name}\n" for row in rows)

    def finish(self) -> bool:
        return True

    def discard(self) -> None:
        self.target.discard()


NAMES = ReportFormat(
    name="names", file_name="names.txt", media_type="text/plain", purpose="the names alone", begin=NamesFile
)
