"""The composed suite, from outside: real processes, real broker, real database, the sandbox as WeCom."""
