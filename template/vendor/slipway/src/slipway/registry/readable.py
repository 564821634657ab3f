"""Whether the code that shall serve a model can read it."""

from __future__ import annotations

from pathlib import Path

from slipway.base.errors import MlopsError
from slipway.registry import packaging
from slipway.training import formats
from slipway.training.bundle import Bundle


def require_format(code: Path, bundle: Bundle) -> None:
    """Refuse code that cannot read the format of a bundle's model: it knows no such format, or lacks the library."""
    form = formats.named(bundle.model.format)
    if not form.packages:
        return
    if f"{type(form).__module__.replace('.', '/')}.py" not in packaging.files_in(code):
        raise MlopsError(
            f"the platform that shall serve this model is older than its format {form.name}",
            "leave `platform` out of the environment's file, or name one of a later commit",
        )
    if not any(packaging.requires(code, package) for package in form.packages):
        raise MlopsError(
            f"nothing that servers install reads {form.file}: {' or '.join(form.packages)} is not among the "
            "dependencies of the project",
            f"uv add {form.packages[-1]} (not to a group, which servers do not have), then commit, and register",
        )
