"""What is known of a store, and what prompts show of it.

row ── reading ──▶ kinds ── (tables) ──▶ selections over windows ──▶ figures ── showing ──▶ views ── prompting ──▶ prompt
"""
