"""bulkid: update UiPath robot accounts in bulk, from a spreadsheet, within the quota."""

__version__ = "0.1.0"
