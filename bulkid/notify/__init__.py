"""Notifications about runs by mail, chat and webhook (apprise). They never change the result of a run."""

from bulkid.notify.deliver import STOPPED_TIMEOUT_S, deliver, unusable
from bulkid.notify.message import Message, message_of_failure, message_of_run
from bulkid.notify.recipients import Recipients, addresses_in

__all__ = [
    "STOPPED_TIMEOUT_S",
    "Message",
    "Recipients",
    "addresses_in",
    "deliver",
    "message_of_failure",
    "message_of_run",
    "unusable",
]
