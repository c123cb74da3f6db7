"""Who executes a trial."""
