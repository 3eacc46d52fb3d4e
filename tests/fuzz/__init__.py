"""Whatever comes from outside gives a value or one of our errors, with its place. `python -m tests.fuzz` looks for more."""
