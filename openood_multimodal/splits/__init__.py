"""Splits without leakage: grouped by recording, by blocks of time, and audits of what they share."""
