"""A simulated Identity Server, for first steps with bulkid and for its own tests."""

from bulkid.sandbox.fixtures import seeded_organization
from bulkid.sandbox.options import FAULT_KINDS, Faults, SandboxOptions, parse_faults, parse_limits
from bulkid.sandbox.organization import AccountRecord, GroupRecord, LogEntry, Organization
from bulkid.sandbox.server import Sandbox

__all__ = [
    "FAULT_KINDS",
    "AccountRecord",
    "Faults",
    "GroupRecord",
    "LogEntry",
    "Organization",
    "Sandbox",
    "SandboxOptions",
    "parse_faults",
    "parse_limits",
    "seeded_organization",
]
