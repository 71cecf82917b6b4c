"""Job files: TOML files that describe runs without a user, checked as a whole.

Start reading at ``read_job`` in :mod:`bulkid.jobfile.read`. The keys and their JSON schema are in
:mod:`bulkid.jobfile.schema`, which is imported only once a file is read, because importing pydantic takes long.
"""


def is_job_file(source: str) -> bool:
    """Whether a SOURCE on the command line is a job file."""
    return source.lower().endswith(".toml")
