"""Telling somebody how a run ended: mail, chat, webhook, whatever apprise knows. Never changes what became of it."""

from bulkid.notify.deliver import LIMIT_S, STOPPED_LIMIT_S, Failed, deliver, unusable
from bulkid.notify.message import Message, message_of_failure, message_of_run
from bulkid.notify.recipients import Recipient, Recipients, addresses_in

__all__ = [
    "LIMIT_S",
    "STOPPED_LIMIT_S",
    "Failed",
    "Message",
    "Recipient",
    "Recipients",
    "addresses_in",
    "deliver",
    "message_of_failure",
    "message_of_run",
    "unusable",
]
