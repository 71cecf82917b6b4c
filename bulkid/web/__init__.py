"""The web console: a thin face over :mod:`bulkid.runs`, on aiohttp's server side. ``bulkid serve`` starts it.

A request ends in a page, a redirect or a message; runs live in a task group of their own (``job_runner.py``), so that
nothing that a browser does or fails to do touches them. Every route has a door (``doors.py``) that says who may pass.
"""
