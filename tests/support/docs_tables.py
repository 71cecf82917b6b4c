"""The tables of the docs that derive from the settings and from the keys of job files."""

from typing import Any

from bulkid.config.settings import Setting, SettingsTable
from bulkid.jobfile.schema import _JOB_KEYS, SETTLE_S, Folder, Notify, job_model, keys_of


def settings_table(table: SettingsTable[Any]) -> str:
    """The tables of ``docs/settings.md``, one section per group."""
    head = "| option | variable | in bulkid.toml | what it is | default |\n| --- | --- | --- | --- | --- |"
    sections = []
    for group in dict.fromkeys(entry.group for entry in table):
        rows = [_settings_row(entry) for entry in table if entry.group == group]
        sections.append("\n".join([f"### {group.name.capitalize()}", "", head, *rows, ""]))
    return "\n".join(sections)


def _settings_row(entry: Setting) -> str:
    about = f"{entry.help[:1].upper()}{entry.help[1:]}: {entry.allowed}".replace("|", "\\|")
    option = f"`{entry.option}`" if entry.option else ""
    key = f"`{entry.key}`" if entry.in_profile and not entry.secret else ""
    return f"| {option} | `{entry.env}` | {key} | {about} | {entry.default_text} |"


def job_table() -> str:
    """The table of ``docs/jobs.md``: the keys that only a job has; all others are settings."""
    described = job_model().model_json_schema()
    tables = {"": described, "source.": described["$defs"]["Folder"], "notify.": described["$defs"]["Notify"]}
    defaults = {"name": "the file's name", "glob": "`*`", "settle": f"{SETTLE_S:g}"}
    lines = ["| key | what it is | default |", "| --- | --- | --- |", "| `source` | The sheet: its path. | |"]
    for prefix, names in (("source.", keys_of(Folder)), ("", _JOB_KEYS), ("notify.", keys_of(Notify))):
        for name in names:
            about = tables[prefix]["properties"][name].get("description")
            if about:
                lines.append(f"| `{prefix}{name}` | {about} | {defaults.get(name, '')} |")
    return "\n".join(lines) + "\n"
