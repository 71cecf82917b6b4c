"""Jobs: runs without a user, by schedule and from drop folders.

Start with ``job``, which does a job once. ``attempt`` says what a job is and keeps what one start came to, ``schedule``
says when it may send, ``drop_folder`` reads and moves files, and ``drop_folder_job`` decides where each goes.
"""
