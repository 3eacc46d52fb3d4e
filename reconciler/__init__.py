"""A GitOps reconciler for customer-data jobs."""

__version__ = "0.1.0"
