"""A simulated Identity Server: what a newcomer plays with, and what bulkid's own tests run against."""

from bulkid.sandbox.control_api import LogEntry
from bulkid.sandbox.fixtures import seeded_organization
from bulkid.sandbox.options import FAULT_KINDS, Faults, SandboxOptions, parse_faults, parse_limits
from bulkid.sandbox.organization import AccountRecord, GroupRecord, Organization
from bulkid.sandbox.server import Sandbox, run_server

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
    "run_server",
    "seeded_organization",
]
