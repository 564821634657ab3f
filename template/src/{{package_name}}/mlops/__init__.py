"""The platform room: data, tracking, registry, serving and monitoring around the team's model.

Replaced by `copier update`; what belongs to the team lives one folder up.
"""
