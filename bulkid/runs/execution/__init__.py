"""One run: connect, plan, send, read back, report. Start with ``run``."""
