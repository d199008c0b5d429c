"""What can be asked of ai_orchestrator, each in its order of effects: load, decide, save, announce."""
