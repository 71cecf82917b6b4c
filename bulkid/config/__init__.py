"""Settings: one table, and the layers that fill it (option, environment, job file, bulkid.toml, default)."""

from bulkid.config.docs import settings_markdown
from bulkid.config.parse import Secret
from bulkid.config.resolve import load_settings, parse_age, unknown_variables
from bulkid.config.secrets import addresses_from
from bulkid.config.setting import GROUPS, Setting
from bulkid.config.settings import SETTINGS, Settings, setting
from bulkid.model import FailureBound

__all__ = [
    "GROUPS",
    "SETTINGS",
    "FailureBound",
    "Secret",
    "Setting",
    "Settings",
    "addresses_from",
    "load_settings",
    "parse_age",
    "setting",
    "settings_markdown",
    "unknown_variables",
]
