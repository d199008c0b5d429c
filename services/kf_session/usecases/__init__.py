"""What can be asked of kf_session, each in its order of effects: load, decide, save, announce."""
