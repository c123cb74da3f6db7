"""What networks are trained for: one folder a task."""
