"""Specs of jobs that import `*.csv`, for tests that need no run."""

from __future__ import annotations

STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"


def job_text(name: str, more: str = 'schedule: {cron: "0 3 1 1 *"}') -> str:
    """Its schedule is far away where nothing else is said."""
    return (
        f"apiVersion: reconciler/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  provider: files\n"
        f'  jobType: import-csv\n  config: {{path: "*.csv", stream: orders}}\n  {more}\n'
    )
