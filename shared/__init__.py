"""Plumbing every service stands on; it knows nothing of rules, campaigns or sessions."""
