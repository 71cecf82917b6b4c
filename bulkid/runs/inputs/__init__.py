"""What a run can be made from: a sheet, a plan file, or an earlier run to undo."""
