"""Write the digest of each file of the platform into template/vendor/slipway/SHA256SUMS."""

from pathlib import Path

from slipway.template.vendored import SUMS, as_text, sums

PLATFORM = Path(__file__).parents[1] / "template" / "vendor" / "slipway"


def derived() -> dict[Path, str]:
    """Return the list of digests, as it should be."""
    return {PLATFORM / SUMS: as_text(sums(PLATFORM))}


if __name__ == "__main__":
    for path, text in derived().items():
        path.write_text(text, encoding="utf-8", newline="\n")
