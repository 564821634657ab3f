"""Write the sample of pictures in `template/data/sample/`, from what scikit-learn carries.

.venv/bin/python benchmarks/digits.py
"""

import base64
import gzip
import io
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from sklearn.datasets import load_digits

SAMPLE = Path(__file__).parents[1] / "template" / "data" / "sample" / "digits.csv.gz"


def packed(counts: np.ndarray) -> bytes:
    """A picture whose blacks were counted, from 0 to 16, as a PNG file."""
    written = io.BytesIO()
    Image.fromarray(np.round(counts * 255 / 16).astype(np.uint8)).save(written, "PNG", optimize=True)
    return written.getvalue()


def main() -> None:
    """Write all of them."""
    found = load_digits()
    rows = pl.DataFrame(
        {
            "sheet": range(len(found.images)),
            "picture": [base64.b64encode(packed(counts)).decode() for counts in found.images],
            "written": [str(digit) for digit in found.target],
        }
    )
    SAMPLE.write_bytes(gzip.compress(rows.write_csv().encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
