"""A daemon under load for as long as is wanted, and whether anything of it drifts. `python -m tests.soak` runs it."""
