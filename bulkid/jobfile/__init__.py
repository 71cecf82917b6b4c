"""Job files: TOML files that describe runs without a user, checked as a whole.

Start reading at :func:`read_job`. The keys, their JSON schema and the table of the docs are in
:mod:`bulkid.jobfile.schema`, which is imported only once a file is read, because importing pydantic takes long.
"""

from bulkid.jobfile.read import JobFile, JobFileError, is_job_file, read_job

__all__ = ["JobFile", "JobFileError", "is_job_file", "read_job"]
