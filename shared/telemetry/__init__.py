"""What the suite says about itself: logs, traces, metrics; and what it never says (redaction)."""
