"""Tests of the image decoder: colour order, grey and alpha, depth, layout, normalisation, presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xslim.calibration.data import CalibrationData
from xslim.calibration.geometry import ImageLayout
from xslim.calibration.presets import imagenet, pt_imagenet
from xslim.config import CalibrationParameters
from xslim.errors import ConfigError, DataError
from xslim.graph.inputs import InputSpec

BGR = np.array([[[1, 2, 3], [40, 50, 60]], [[70, 80, 90], [200, 210, 250]]], np.uint8)


def load(
    path: Path, shape: tuple[int | None, ...], dtype: str = "float32", **fields: Any
) -> NDArray[np.generic]:
    """Decode one image file through the public door."""
    listing = path.parent / "list.txt"
    listing.write_text(path.name, "utf-8")
    parameters = CalibrationParameters.model_validate(
        {"input_parameters": [{"data_list_path": str(listing), **fields}]}
    )
    data = CalibrationData([InputSpec("x", shape, np.dtype(dtype))], parameters)
    (feeds,) = data.batches(workers=0)
    return feeds["x"]


def write(folder: Path, image: NDArray[np.generic], name: str = "a.png") -> Path:
    path = folder / name
    assert cv2.imwrite(str(path), image)
    return path


def test_bgr_is_the_default(tmp_path: Path) -> None:
    result = load(write(tmp_path, BGR), (1, 3, 2, 2))
    assert result.dtype == np.float32
    assert np.array_equal(result[0], BGR.transpose(2, 0, 1))


def test_rgb_swaps_the_colours_before_the_mean(tmp_path: Path) -> None:
    result = load(
        write(tmp_path, BGR),
        (None, 3, 2, 2),
        color_format="rgb",
        mean_value=[100, 10, 1],
        std_value=[2, 4, 8],
    )
    expected = (BGR[..., ::-1].astype(np.float32) - np.float32([100, 10, 1])) / np.float32([2, 4, 8])
    assert np.array_equal(result[0], expected.transpose(2, 0, 1))
    assert result.flags.c_contiguous


def test_channels_last(tmp_path: Path) -> None:
    assert np.array_equal(load(write(tmp_path, BGR), (1, 2, 2, 3))[0], BGR)
    assert np.array_equal(load(write(tmp_path, BGR), (2, 2, 3)), BGR)


def test_one_mean_serves_all_channels(tmp_path: Path) -> None:
    result = load(write(tmp_path, BGR), (1, 3, 2, 2), mean_value=[5], std_value=[2])
    assert np.array_equal(result[0], (BGR.transpose(2, 0, 1).astype(np.float32) - 5) / 2)


def test_grey(tmp_path: Path) -> None:
    grey = np.array([[0, 9], [128, 255]], np.uint8)
    assert np.array_equal(load(write(tmp_path, grey), (1, 1, 2, 2))[0, 0], grey)
    assert np.array_equal(load(write(tmp_path, grey), (1, 3, 2, 2))[0], np.stack([grey] * 3))
    from_colour = load(write(tmp_path, BGR, "b.png"), (1, 1, 2, 2))[0, 0]
    assert np.abs(from_colour - cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY)).max() <= 1


def test_alpha(tmp_path: Path) -> None:
    bgra = np.dstack([BGR, np.array([[0, 99], [128, 255]], np.uint8)])
    path = write(tmp_path, bgra)
    assert np.array_equal(load(path, (1, 4, 2, 2))[0], bgra.transpose(2, 0, 1))
    swapped = load(path, (1, 4, 2, 2), color_format="rgb")[0]
    assert np.array_equal(swapped, bgra[..., [2, 1, 0, 3]].transpose(2, 0, 1))
    assert np.array_equal(load(path, (1, 3, 2, 2))[0], BGR.transpose(2, 0, 1))


def test_sixteen_bits_come_on_the_scale_of_eight(tmp_path: Path) -> None:
    fine = np.array([[0, 257], [32896, 65535]], np.uint16)
    result = load(write(tmp_path, fine), (1, 1, 2, 2))[0, 0]
    assert np.allclose(result, [[0, 1], [128, 255]], atol=1e-4)


def test_stretching_uses_areas(tmp_path: Path) -> None:
    image = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    result = load(write(tmp_path, image), (1, 3, 2, 4))
    blocks = image.reshape(2, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(result[0] - blocks.transpose(2, 0, 1)).max() <= 0.5


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int32", "int64", "uint16"])
def test_other_element_types(tmp_path: Path, dtype: str) -> None:
    result = load(write(tmp_path, BGR), (1, 3, 2, 2), dtype)
    assert result.dtype == dtype
    assert np.array_equal(result[0], BGR.transpose(2, 0, 1))


def test_pixels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not fit into the input's type int8"):
        load(write(tmp_path, BGR), (1, 3, 2, 2), "int8")


def test_a_symbolic_size_comes_from_the_config(tmp_path: Path) -> None:
    path = write(tmp_path, BGR)
    assert load(path, (None, 3, None, None), input_shape=[1, 3, 4, 6]).shape == (1, 3, 4, 6)
    with pytest.raises(DataError, match=r"leaves the image size open \(set input_shape\)"):
        load(path, (None, 3, None, None))


@pytest.mark.parametrize(
    ("shape", "fields", "fragment"),
    [
        ((1, 5, 2, 2), {}, "wants 5"),
        ((1, 6), {}, "an image cannot fill an input of shape [1, 6]"),
        ((1, 4, 2, 2), {}, "the image has 3 channels but the input has 4"),
    ],
)
def test_shapes_that_no_image_fits(
    tmp_path: Path, shape: tuple[int, ...], fields: dict[str, Any], fragment: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, BGR), shape, **fields)
    assert fragment in str(caught.value)


def test_means_must_fit_the_channels_and_the_type(tmp_path: Path) -> None:
    path = write(tmp_path, BGR)
    with pytest.raises(ConfigError, match=r"\[0\]\.mean_value: has 3 values but the input x has 1 channels"):
        load(path, (1, 1, 2, 2), mean_value=[1, 2, 3])
    with pytest.raises(ConfigError, match=r"\[0\]\.std_value: makes floats of an image"):
        load(path, (1, 3, 2, 2), "uint8", std_value=[1, 2, 3])


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_image_is_an_error(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    path = write(tmp_path, noise, name)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=rf"list.txt, line 1: {name}: cannot read the image"):
        load(path, (1, 3, 8, 8))


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_what_is_no_image_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot read the image"):
        load(path, (1, 3, 8, 8))


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose red is its column and whose blue is its row."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([columns, np.zeros_like(rows), rows]).astype(np.uint8)


@pytest.mark.parametrize("preset", [pt_imagenet, imagenet])
@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64), (100, 100), (201, 67)])
def test_presets_shrink_by_seven_eighths_and_cut_the_centre(preset: Any, height: int, width: int) -> None:
    result = preset(ramp(height, width), ImageLayout(3, 28, 28, channels_last=False)).astype(np.float64)
    assert result.shape == (28, 28, 3)
    # The short side becomes 32 pixels; a linear ramp survives any of the filters.
    scale = min(height, width) / 32
    steps = (result[0, -1, 0] - result[0, 0, 0], result[-1, 0, 2] - result[0, 0, 2])
    assert steps == pytest.approx((27 * scale, 27 * scale), abs=1.1)
    middle = result[13:15, 13:15].mean(axis=(0, 1))
    assert middle[0] == pytest.approx((width - 1) / 2, abs=0.6 * scale + 0.6)
    assert middle[2] == pytest.approx((height - 1) / 2, abs=0.6 * scale + 0.6)


@pytest.mark.parametrize("preset", [pt_imagenet, imagenet])
def test_presets_cover_inputs_that_are_not_square(preset: Any) -> None:
    for height, width in [(60, 50), (50, 200), (7, 5)]:
        layout = ImageLayout(3, 14, 42, channels_last=False)
        assert preset(ramp(height, width), layout).shape == (14, 42, 3)


def test_presets_normalise_after_cutting(tmp_path: Path) -> None:
    image = np.full((50, 40, 3), (10, 20, 30), np.uint8)
    for preset in ("PT_IMAGENET", "IMAGENET"):
        result = load(
            write(tmp_path, image),
            (1, 3, 24, 24),
            preprocess_file=preset,
            color_format="rgb",
            mean_value=[1, 2, 3],
            std_value=[2, 2, 2],
        )
        assert np.array_equal(np.unique(result, axis=None), [3.5, 9, 14.5])
        assert (result[0, 0] == 14.5).all()


def test_the_preset_rounds_sixteen_bits_to_eight(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)
    fine = load(
        write(tmp_path, coarse.astype(np.uint16) * 257, "fine.png"),
        (1, 3, 24, 24),
        preprocess_file="PT_IMAGENET",
    )
    assert np.array_equal(fine, load(write(tmp_path, coarse), (1, 3, 24, 24), preprocess_file="PT_IMAGENET"))


def test_letterbox_keeps_proportions_in_the_middle_of_grey(tmp_path: Path) -> None:
    wide = np.full((10, 40, 3), 200, np.uint8)
    (result,) = load(write(tmp_path, wide), (1, 3, 20, 20), preprocess_file="LETTERBOX")
    # Scaled by half to 5 rows; of the 15 rows of border, 7 are above.
    assert np.all(result[:, 7:12] == 200)
    assert np.all(result[:, :7] == 114)
    assert np.all(result[:, 12:] == 114)


def test_letterbox_enlarges_and_has_borders_on_both_sides(tmp_path: Path) -> None:
    tall = np.full((8, 4, 3), 50, np.uint8)
    (result,) = load(write(tmp_path, tall), (1, 3, 16, 16), preprocess_file="LETTERBOX")
    assert np.all(result[:, :, 4:12] == 50)
    assert np.all(result[:, :, [0, 3, 12, 15]] == 114)
