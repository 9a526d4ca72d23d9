"""Arrays on their way to the native part and back: NumPy arrays and torch tensors in, the same kind out."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

from bandfeed.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

Box = tuple[int, int, int, int]
Size = Union[int, tuple[int, int]]

_LARGEST_SIDE = 2**32 - 1


def config_error(what: str, reason: str) -> ConfigError:
    """The error of an argument."""
    return ConfigError(f"{what}: {reason}", what, reason)


def to_numpy(value: Any, what: str) -> tuple[npt.NDArray[Any], bool]:
    """The value as a NumPy array, and whether it is a torch tensor."""
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        array = np.asarray(value)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")), False
    if value.device.type != "cpu":
        raise config_error(what, f"a tensor on {value.device}: expected one on the CPU")
    try:
        return value.detach().numpy(), True
    except TypeError as error:
        # bfloat16, which NumPy does not have.
        raise config_error(what, str(error)) from None


def from_bytes(data: bytearray, dtype: str, shape: tuple[int, ...], is_torch: bool) -> Any:
    """An array that owns ``data``, or a tensor."""
    import numpy as np

    array: npt.NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    return sys.modules["torch"].from_numpy(array) if is_torch else array


def pixels_of(array: npt.NDArray[Any], *, batched: bool = False) -> tuple[bytes, tuple[int, int]]:
    """The bytes of 8-bit pixels, their height and width."""
    if array.dtype.name != "uint8" or array.ndim < 3 or (array.ndim > 3 and not batched) or array.shape[-1] != 3:
        hint = "; channels come last here: permute(1, 2, 0)" if array.ndim == 3 and array.shape[0] == 3 else ""
        lead = "..., " if batched else ""
        found = f"{array.dtype} of shape {array.shape}"
        raise config_error("image", f"{found}: expected uint8 of shape ({lead}H, W, 3){hint}")
    if math.prod(array.shape[-3:]) == 0:
        raise config_error("image", f"shape {array.shape}: expected at least one pixel")
    return array.tobytes(), (array.shape[-3], array.shape[-2])


def sides_of(size: Size, what: str = "size") -> tuple[int, int]:
    """Height and width of what is given as a side or as both."""
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise config_error(what, f"{size}: expected at least one pixel")
    return height, width


def box_of(box: Box, what: str) -> Box:
    """``(x, y, width, height)``; whether it lies in the image is asked later."""
    x, y, width, height = box
    if not all(0 <= value <= _LARGEST_SIDE for value in box):
        raise config_error(what, f"{box}: expected (x, y, width, height), none of them below 0")
    return x, y, width, height


def color_of(color: Sequence[int], what: str) -> tuple[int, int, int]:
    """Red, green and blue in 8 bits."""
    red, green, blue = (int(value) for value in three(color, what))
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise config_error(what, f"{tuple(color)}: expected values in 0..=255")
    return red, green, blue


def three(values: Sequence[float], what: str) -> tuple[float, float, float]:
    """A number for each channel."""
    if len(values) != 3:
        raise config_error(what, f"{len(values)} values: expected three")
    red, green, blue = values
    return float(red), float(green), float(blue)
