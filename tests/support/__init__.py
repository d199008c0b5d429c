"""What several suites share: real servers on loan, and how they are cleared away."""
