"""Settings: one table, and the layers that fill it (option, environment, job file, bulkid.toml, default).

Start reading at :mod:`bulkid.config.settings`, the table with one entry per setting. :func:`load_settings` takes each
setting from the first layer that gives it and returns a checked :class:`Settings`.
"""

from bulkid.config.credentials import addresses_from
from bulkid.config.parse import Secret
from bulkid.config.resolve import load_settings, parse_age, read_toml, unknown_variables
from bulkid.config.setting import Setting, SettingsTable
from bulkid.config.settings import SETTINGS, Settings, setting

__all__ = [
    "SETTINGS",
    "Secret",
    "Setting",
    "Settings",
    "SettingsTable",
    "addresses_from",
    "load_settings",
    "parse_age",
    "read_toml",
    "setting",
    "unknown_variables",
]
