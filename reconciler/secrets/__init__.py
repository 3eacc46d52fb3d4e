"""Secrets: from references to values. Out of every text that leaves a run they are taken by `core/redact.py`."""

from reconciler.secrets.references import EXEC_TIMEOUT_S, MAX_SECRET_BYTES, keyed_digest, resolve

__all__ = ["EXEC_TIMEOUT_S", "MAX_SECRET_BYTES", "keyed_digest", "resolve"]
