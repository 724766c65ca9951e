"""What predictions are compared with, one kind of measurement per file."""
