"""Job files: what runs without a person, said in one checked file. pydantic is imported only once a file is read."""

from bulkid.jobfile.read import JobFile, JobFileError, is_job_file, read_job

__all__ = ["JobFile", "JobFileError", "is_job_file", "read_job"]
