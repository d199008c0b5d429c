"""What campaign does by itself: synchronising, sending, reconciling."""
