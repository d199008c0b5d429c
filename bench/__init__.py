"""Speed, side by side in one run: Reach, a bare loop that does only the two phases, and Celery prefork."""
