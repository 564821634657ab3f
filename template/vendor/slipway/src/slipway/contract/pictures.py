"""Pictures as a column of a contract: what one must be, its pixels, and what stands for it where bytes may not be.

A picture travels as a PNG or JPEG file. In logs and references its digest stands for it, beside a few numbers of its
pixels: they are the same for every project and version, so that drift of pictures can be told without keeping any.
"""

from __future__ import annotations

import binascii
import hashlib
import io
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from slipway.base.errors import MlopsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    #: Rows, columns and, of a picture in colour, channels; from 0 to 255.
    Pixels = NDArray[np.uint8]

#: How Pillow calls what a picture may have by its number of channels, and how people do.
_MODES = {1: ("L", "grey"), 3: ("RGB", "red, green and blue")}
_FORMATS = ("PNG", "JPEG")
#: A picture is cut into so many parts of equal size each way.
_PARTS = 3
#: The tag in which a camera says how it was held, and what it says of a picture that is upright.
_ORIENTATION, _UPRIGHT = 0x0112, 1


@dataclass(frozen=True)
class Picture:
    """What a picture must be: the annotation of a column of `bytes`.

        picture: Annotated[bytes, Picture(width=32, height=32, channels=3)]

    It has exactly this `width` and `height` in pixels, 1 channel (grey) or 3 (red, green, blue) of 8 bits, and its
    file, PNG or JPEG, at most `max_bytes`. Raises `MlopsError` for what no picture can be.
    """

    width: int
    height: int
    channels: int = 1
    max_bytes: int = 65_536

    def __post_init__(self) -> None:
        if self.channels not in _MODES or min(self.width, self.height) < _PARTS or self.max_bytes < 1:
            raise MlopsError(
                f"contract.py names {self!r}, and a picture has 1 or 3 channels, at least {_PARTS} pixels each way and "
                "a file of some bytes",
                "mend it, like Picture(width=32, height=32, channels=3)",
            )

    def __str__(self) -> str:
        """What a picture must be, as people are told."""
        size = f"{self.width} by {self.height} pixels in {_MODES[self.channels][1]}"
        return f"a picture of {size}, as {' or '.join(_FORMATS)} of at most {self.max_bytes:,} bytes"

    @property
    def schema(self) -> dict[str, Any]:
        """What JSON Schema says of such a value beside its type."""
        characters = 4 * -(-self.max_bytes // 3)
        return {"contentEncoding": "base64", "maxLength": characters, "description": f"A{str(self)[1:]}."}

    def read(self, content: bytes) -> PictureBytes:
        """The same bytes with their pixels, which are looked at once. Raises `ValueError` that says what is wrong."""
        return content if isinstance(content, PictureBytes) else PictureBytes.of(content, self._pixels(content))

    def fault(self, value: Any) -> str:
        """What is wrong with a value, bytes or their base64; empty where it is such a picture."""
        try:
            content = binascii.a2b_base64(value, strict_mode=True) if isinstance(value, str) else value
        except (binascii.Error, ValueError):
            return "is not in base64"
        if not isinstance(content, bytes):
            return "is no text in base64"
        try:
            self.read(content)
        except ValueError as error:
            return str(error)
        return ""

    def _pixels(self, content: bytes) -> Pixels:
        if len(content) > self.max_bytes:
            raise ValueError(f"has {len(content):,} bytes, and may have {self.max_bytes:,}")
        # Loaded where there are pictures alone: other projects have no such library.
        import numpy as np
        from PIL import Image

        try:
            # The header is read here, and no pixel before the size is known to be right.
            with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
                self._require(opened)
                pixels = np.asarray(opened)
        except _WrongPictureError:
            raise
        except Exception as error:  # noqa: BLE001 - Pillow raises whatever comes to a decoder's mind
            what = "no PNG or JPEG" if "cannot identify" in str(error) else f"no whole picture: {error}"
            raise ValueError(f"is {what}") from None
        return pixels

    def _require(self, opened: Any) -> None:
        if opened.size != (self.width, self.height):
            width, height = opened.size
            raise _WrongPictureError(f"has {width:,} by {height:,} pixels, not {self.width} by {self.height}")
        mode, colours = _MODES[self.channels]
        if opened.mode != mode:
            raise _WrongPictureError(f"is of the mode {opened.mode}, not {mode} ({colours}, 8 bits each)")
        if getattr(opened, "n_frames", 1) > 1:
            raise _WrongPictureError("has several frames, not one")
        if opened.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
            raise _WrongPictureError("lies on its side, by what its camera says; turn its pixels and drop that mark")


class _WrongPictureError(ValueError):
    """A picture that can be read, and is another one than the contract takes."""


class PictureBytes(bytes):
    """The file of a picture that was looked at, with its pixels."""

    pixels: Pixels

    @classmethod
    def of(cls, content: bytes, pixels: Pixels) -> PictureBytes:
        """These bytes with these pixels."""
        made = cls(content)
        made.pixels = pixels
        return made


def reference(content: bytes) -> str:
    """What stands for a picture in a log."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Numbers(NamedTuple):
    """What is told of a picture's pixels: their names, and the function that makes them.

    `edges` are the first row and the first column of each part, `sizes` the pixels of each part.
    """

    names: tuple[str, ...]
    edges: tuple[NDArray[np.intp], NDArray[np.intp]]
    sizes: NDArray[np.intp]

    @classmethod
    @cache
    def of(cls, picture: Picture) -> Numbers:
        """The names of the numbers of such pictures."""
        parts = [f"part_{row}_{column}" for row in range(1, _PARTS + 1) for column in range(1, _PARTS + 1)]
        colours = ["red", "green", "blue"] if picture.channels > 1 else []
        import numpy as np

        rows, columns = (np.arange(_PARTS) * size // _PARTS for size in (picture.height, picture.width))
        sizes = np.outer(np.diff([*rows, picture.height]), np.diff([*columns, picture.width]))
        return cls(("brightness", "contrast", "sharpness", *parts, *colours), (rows, columns), sizes)

    def __call__(self, pixels: Pixels) -> list[float]:
        """The numbers of one picture, each from 0 to 1.

        `brightness` and `contrast` are mean and standard deviation of all values, `sharpness` is the mean difference of
        neighbours in a row, `part_1_3` the mean of the part in the first row of parts and its third column.
        """
        import numpy as np

        grey = pixels.mean(axis=2) if pixels.ndim > 2 else pixels.astype(np.float64)
        rows, columns = self.edges
        sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=0), columns, axis=1)
        told = [grey.mean(), grey.std(), np.abs(grey[:, 1:] - grey[:, :-1]).mean(), *(sums / self.sizes).ravel()]
        if pixels.ndim > 2:
            told += [*pixels.mean(axis=(0, 1))]
        return [round(float(value) / 255, 6) for value in told]
