"""Campaigns: a text that another person approved becomes a mass-send to customer groups, reconciled to the last group.

Serves    reach.campaign.v1.CampaignService
Announces campaign.*
Hears     change_external_chat, by the callback of customer contact
Keeps     groups and join ways; campaigns with every version, approval and run; tasks of owners; outcomes of groups
"""
