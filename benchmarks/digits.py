"""Write the sample of pictures in `template/data/sample/`, from what scikit-learn carries.

    .venv/bin/python benchmarks/digits.py
"""

import io
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from sklearn.datasets import load_digits

SAMPLE = Path(__file__).parents[1] / "template" / "data" / "sample" / "digits.parquet"


def packed(counts: np.ndarray) -> bytes:
    """A picture whose blacks were counted, from 0 to 16, as a PNG file."""
    written = io.BytesIO()
    Image.fromarray(np.round(counts * 255 / 16).astype(np.uint8)).save(written, "PNG", optimize=True)
    return written.getvalue()


def main() -> None:
    """Write all of them."""
    found = load_digits()
    rows = pl.DataFrame({
        "sheet": range(len(found.images)),
        "picture": [packed(counts) for counts in found.images],
        "written": [str(digit) for digit in found.target],
    })
    rows.write_parquet(SAMPLE, compression="zstd", compression_level=19, statistics=False)


if __name__ == "__main__":
    main()
