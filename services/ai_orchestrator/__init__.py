"""AI chains: a business event starts a chain of DashScope (百炼) applications whose results are kept as insights and clues.

Serves    reach.ai_orchestrator.v1.AiOrchestratorService
Hears     consumption.settled, note.created, task.assigned, dws.completed, and what happens to members
Announces ai.run.*, ai.insight.updated, ai.alert.created
"""
