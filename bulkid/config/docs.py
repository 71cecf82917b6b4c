"""The table of settings as the docs show it."""

from bulkid.config.setting import GROUPS
from bulkid.config.settings import SETTINGS


def settings_markdown() -> str:
    """The table for the docs, one section per group."""
    parts = []
    for group in GROUPS:
        rows = [
            "| {} | {} | {} | {} | {} |".format(
                f"`{each.option}`" if each.option else "",
                f"`{each.env}`",
                "" if each.secret or not each.in_profile else f"`{each.key}`",
                f"{each.help[:1].upper()}{each.help[1:]}: {each.allowed}".replace("|", "\\|"),
                each.default_text,
            )
            for each in SETTINGS
            if each.group == group
        ]
        head = ["| option | variable | in bulkid.toml | what it is | default |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([f"### {group.capitalize()}", "", *head, *rows, ""]))
    return "\n".join(parts)
