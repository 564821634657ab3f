"""What a pod of the kubernetes target costs: processor time of a request, and memory. Run it as root on the node.

    python benchmarks/pods.py http://10.96.0.12 row.json

The address is that of the Service, `row.json` one row as a client sends it. The pods must be the only ones of their
class of service on the node; the kernel's version 1 of control groups is read.
"""

import http.client
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

REQUESTS = 20_000
GROUPS = Path("/sys/fs/cgroup")


def numbers(controller: str, file: str) -> list[int]:
    """What a controller says of each pod."""
    return [int(path.read_text()) for path in GROUPS.glob(f"{controller}/kubepods/burstable/pod*/{file}")]


def processor_s() -> float:
    """Processor time of all pods since they started, in seconds."""
    return sum(numbers("cpuacct", "cpuacct.usage")) / 1e9


def main() -> None:
    """Ask with one connection, and say what that has cost."""
    address, row = urlsplit(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80)
    started = processor_s()
    time.sleep(10)
    idle = (processor_s() - started) / 10
    started = processor_s()
    for _ in range(REQUESTS):
        connection.request("POST", "/predict", row, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == http.HTTPStatus.OK, json.loads(answer.read())
        answer.read()
    print(f"processor: {(processor_s() - started) / REQUESTS * 1000:.2f} ms a request, {idle:.3f} of one while idle")
    for file in ("memory.usage_in_bytes", "memory.max_usage_in_bytes"):
        print(f"{file}: {', '.join(f'{one / 2**20:.0f} MiB' for one in numbers('memory', file))}")


if __name__ == "__main__":
    main()
