"""The web console over :mod:`bulkid.runs`, on aiohttp's server side; ``bulkid serve`` starts it.

Start with ``server``: its table of routes names the handler of each address and the role that it requires. Runs are in
a task group of their own (``job_runner``), so that no request of a browser ends them.
"""
