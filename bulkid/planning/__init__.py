"""Planning: from the texts of a sheet to the requests to send, as pure functions of the sheet and the directory.

Start reading at :mod:`bulkid.planning.resolve`, which turns rows into desired states. ``plan`` compares these with the
directory, ``strategy`` and ``cover`` choose the requests.
"""
