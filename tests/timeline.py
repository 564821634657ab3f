"""What the time of a release in a cluster consists of: for the log of a test, which asserts no figure of it."""

import json
import re
from datetime import datetime
from typing import Any

from clients import Client


def of_release(since: float, version: int, clients: list[Client], pods: dict[str, Any], events: dict[str, Any]) -> str:
    """Say in seconds after `since` what became of a version: as clients heard it, and as kubectl's JSON tells of pods.

    A cluster tells of pods in whole seconds, and of a pull in finer ones.
    """

    def after(when: str) -> int:
        return round(datetime.fromisoformat(when).timestamp() - since)

    names = [one["metadata"]["name"] for one in pods["items"]]
    told = [
        {
            "made": after(one["metadata"]["creationTimestamp"]),
            "started": after(one["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]),
            "ready": after(
                next(each for each in one["status"]["conditions"] if each["type"] == "Ready")["lastTransitionTime"]
            ),
        }
        for one in pods["items"]
    ]
    pulls = [
        re.sub(r".* in ", "", one["message"])
        for one in events["items"]
        if one["message"].startswith("Successfully pulled") and one["involvedObject"]["name"] in names
    ]
    heard = [one.heard for one in clients]
    last = max(ended for one in heard for other, (_, ended) in one.items() if other != version)
    return json.dumps(
        {
            "first_answer": round(min(one[version][0] for one in heard) - since, 1),
            "last_answer_of_another": round(last - since, 1),
            "pods": sorted(told, key=lambda one: one["made"]),
            "pulled_in": pulls,
        }
    )
