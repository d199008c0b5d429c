"""Events: what is known about their types, how they are read and written, and when two are the same."""
