"""Notifications about runs by mail, chat and webhook (apprise). They never change the result of a run."""
