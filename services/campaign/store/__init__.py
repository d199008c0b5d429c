"""SQL of campaign."""
