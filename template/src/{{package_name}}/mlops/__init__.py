"""The platform room: data, tracking, registry, serving and monitoring around the team's model.

Replaced by `mlops template update`; what belongs to the team lives one folder up.
"""
