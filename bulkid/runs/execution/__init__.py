"""One run: connect, plan, send, read back, report.

Start with ``run``: ``Execution.perform`` calls the other modules in the order of the stages. ``planner`` turns rows
into a plan, ``apply`` sends it through ``group_sender`` and ``account_sender``, ``finish`` sets the run's status and
writes the report. A resumed run skips the plan: ``reconcile`` compares its run items with the directory.
"""
