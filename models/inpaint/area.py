"""The part of the picture that the model gets to see: the mask and, by the respective field, what is around it."""

from dataclasses import dataclass

from torch import Tensor

from models.errors import ModelError

MARGIN = 1.15  # of the mask's larger side, at field 0


class EmptyMask(ModelError):
    """A mask that selects no pixel."""

    code = "empty_mask"


@dataclass(frozen=True)
class Area:
    """Rows top … bottom - 1 and columns left … right - 1 of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def of(self, picture: Tensor) -> Tensor:
        """Cut the area out of (B, H, W) or (B, H, W, C)."""
        return picture[:, self.top : self.bottom, self.left : self.right]


def interested_area(mask: Tensor, respective_field: float) -> Area:
    """The area to work on. respective_field: 0 = closely around the mask … 1 = the whole picture. Raises EmptyMask.

    Between 0 and 1 it is the smallest area that has this share of the picture's height and width.
    """
    height, width = mask.shape[-2:]
    if respective_field >= 1:
        _bounds(mask)
        return Area(0, height, 0, width)
    area = _around(mask)
    while area.height < height * respective_field or area.width < width * respective_field:
        taller = area.height < area.width
        taller = area.width == width if not taller else area.height < height  # a full side cannot grow
        area = _grown(area, height, width, rows=int(taller), columns=int(not taller))
    return area


def _around(mask: Tensor) -> Area:
    """A square about 15 % larger than the mask's bounds, as far as the picture goes."""
    first_row, last_row, first_column, last_column = _bounds(mask)
    row, column = (first_row + last_row) // 2, (first_column + last_column) // 2
    half = int(max((last_row - first_row) // 2, (last_column - first_column) // 2) * MARGIN)
    return _grown(Area(row, row + 1, column, column + 1), *mask.shape[-2:], rows=half, columns=half)


def _grown(area: Area, height: int, width: int, *, rows: int, columns: int) -> Area:
    return Area(
        max(area.top - rows, 0),
        min(area.bottom + rows, height),
        max(area.left - columns, 0),
        min(area.right + columns, width),
    )


def _bounds(mask: Tensor) -> tuple[int, int, int, int]:
    """First and last row and column of anything in the mask."""
    rows, columns = (mask.amax((0, axis)).nonzero().flatten().tolist() for axis in (2, 1))
    if not rows:
        raise EmptyMask(
            "The mask selects nothing to repaint.", "Paint white what is to change, or choose a side to extend."
        )
    return rows[0], rows[-1], columns[0], columns[-1]
