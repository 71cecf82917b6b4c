"""Files to wanted changes: reading, headers, cells, and what is wrong with each row."""
