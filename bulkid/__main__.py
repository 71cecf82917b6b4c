"""``python -m bulkid`` does what the ``bulkid`` command does."""

from bulkid.cli import main

if __name__ == "__main__":
    main()
