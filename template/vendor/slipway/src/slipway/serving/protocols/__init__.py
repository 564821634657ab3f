"""Which wire protocols a server speaks: the one place from which its routes, pages and OpenAPI document come.

/predict        this project's own, which nothing switches off: `predict.py`
/v2/...         the Open Inference Protocol, as KServe, Triton and MLServer speak it: `inference.py`
/invocations    as `mlflow models serve` answers: `invocations.py`

Another distribution adds one as an entry point of the group `slipway.protocol`: a class of the form `WireProtocol`.
`serving.protocols` in policy.yaml chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from starlette.routing import compile_path

from slipway.base import plugins
from slipway.base.errors import MlopsError
from slipway.contract.problems import Problem
from slipway.serving.protocols.base import ServedModel, WireProtocol
from slipway.serving.protocols.inference import Inference
from slipway.serving.protocols.invocations import Invocations
from slipway.serving.protocols.predict import Predict

GROUP = "slipway.protocol"

_OWN: dict[str, Callable[[ServedModel], WireProtocol]] = {"inference": Inference, "invocations": Invocations}


class Protocols:
    """The protocols of one server."""

    def __init__(self, model: ServedModel, wanted: Sequence[str] | None = None) -> None:
        """Make those that are `wanted`, or all.

        Raises `MlopsError` for one that is unknown, and for two that answer at the same path.
        """
        self.predict = Predict(model)
        known = sorted({*_OWN, *plugins.names(GROUP)})
        names = known if wanted is None else [name for name in wanted if name != "predict"]
        if unknown := [name for name in names if name not in known]:
            raise MlopsError(
                f"policy.yaml, serving.protocols: there is no protocol {unknown[0]}",
                f"choose from {', '.join(['predict', *known])}",
            )
        made = (_OWN.get(name) or plugins.load(GROUP, name) for name in names)
        self._all: list[WireProtocol] = [self.predict, *(protocol(model) for protocol in made)]
        self.routes = {route: protocol for protocol in self._all for route in protocol.routes}
        if len(self.routes) < sum(len(protocol.routes) for protocol in self._all):
            raise MlopsError(
                f"two of the protocols predict, {', '.join(names)} have a route in common",
                "name only one of them in policy.yaml, serving.protocols",
            )
        self._patterns = [(compile_path(route)[0], protocol) for route, protocol in self.routes.items()]

    def __iter__(self) -> Iterator[WireProtocol]:
        return iter(self._all)

    def at(self, path: str) -> WireProtocol:
        """The protocol of a path; raises `Problem` when there is none."""
        for pattern, protocol in self._patterns:
            if pattern.match(path):
                return protocol
        raise Problem(404, f"there is no {path[:60]} here; / lists what there is")
