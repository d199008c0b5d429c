"""Decisions of campaign: pure, with the clock handed in."""
