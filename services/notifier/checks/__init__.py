"""Looking for the doctor: each check asks, and ``domain.diagnosis`` says what the answer means."""
