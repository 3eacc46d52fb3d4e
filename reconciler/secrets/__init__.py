"""Secrets: from references to values, and out of every text that leaves a run."""

from reconciler.secrets.redact import MASK, Redactor
from reconciler.secrets.references import EXEC_TIMEOUT_S, MAX_SECRET_BYTES, keyed_digest, resolve

__all__ = ["EXEC_TIMEOUT_S", "MASK", "MAX_SECRET_BYTES", "Redactor", "keyed_digest", "resolve"]
