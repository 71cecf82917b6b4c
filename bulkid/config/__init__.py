"""Settings: one table, and the layers that fill it (option, environment, job file, bulkid.toml, default)."""

from bulkid.config.layers import load_settings, parse_age, unknown_variables
from bulkid.config.lines import GROUPS, Setting
from bulkid.config.markdown import settings_markdown
from bulkid.config.references import addresses_from
from bulkid.config.table import SETTINGS, Settings, setting
from bulkid.config.values import Secret
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
