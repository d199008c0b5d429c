"""What can be asked of the notifier, each in its order of effects: load, decide, save, announce."""
