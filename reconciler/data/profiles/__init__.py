"""Profiles: people and things built from messages, kept as a base and deltas of immutable Parquet."""
