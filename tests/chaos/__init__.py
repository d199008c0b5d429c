"""Kills under load, and the books afterwards: what was accepted, planned, tried, posted and received must agree."""
