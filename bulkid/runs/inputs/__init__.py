"""The inputs of a run: a sheet, a plan file, or an earlier run to undo.

Start with ``run_input``: each input is a ``RunInput``, whose ``read`` gives ``Rows``. ``sheet`` reads them from a file
or from the journal. ``plan_file`` and ``undo`` make a ``PrecomputedInput`` (``precomputed``), whose rows are resolved
against a known state of each account. ``plan_format`` is the JSON of a plan file, and ``plan_parser`` reads it.
"""
