"""Settings: one table, and the layers that fill it (option, environment, job file, bulkid.toml, default).

Start reading at :mod:`bulkid.config.settings`, the table with one entry per setting. ``load_settings`` in
:mod:`bulkid.config.resolve` takes each setting from the first layer that gives it and returns a checked ``Settings``.
"""
