"""What to simulate: the settings tree, and the only place that knows every room."""
