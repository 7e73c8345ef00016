import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface.interface import LabelInterface
from numpy.typing import NDArray
from PIL import Image

from backend.brush_rle import decode_mask
from backend.label_config import CONTROL_KINDS, EXAMPLE_CONFIG, MaskControl, parse_label_config
from backend.parameters import MaskParameters
from backend.prompts import LabelledPrompt
from backend.regions import MAX_REGIONS, mask_regions, regions_of_each

MASK = np.zeros((48, 64), dtype=np.bool_)
MASK[8:28, 6:30] = True
CAR = LabelledPrompt("the red car", "car")
BRUSH_LABELS = MaskControl("mask", "image", "brushlabels")
BRUSH = MaskControl("brush", "image", "brush+labels", "class")
BRUSH_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Labels name="class" toName="image"><Label value="car"/></Labels>
  <Brush name="brush" toName="image"/>
</View>"""


TOGETHER, SEPARATE = MaskParameters(), MaskParameters(mode="each")
LARGEST = MaskParameters(mode="one")
SQUARES = np.zeros((48, 64), dtype=np.bool_)
SQUARES[4:12, 4:12] = SQUARES[20:44, 32:64] = True


def regions(
    prompt: LabelledPrompt = CAR,
    control: MaskControl = BRUSH_LABELS,
    score: float = 0.9,
    image_digest: str = "image",
    *,
    model_version: str = "demo-1a2b3c4d",
    parameters: MaskParameters = TOGETHER,
    mask: NDArray[np.bool_] = MASK,
) -> list[dict[str, Any]]:
    return mask_regions(
        mask,
        score,
        prompt,
        control,
        parameters=parameters,
        image_digest=image_digest,
        model_version=model_version,
    )


def test_brush_labels_take_mask_and_label_in_one_result() -> None:
    (region,) = regions()
    rle = region["value"].pop("rle")
    assert region == {
        "id": region["id"],
        "from_name": "mask",
        "to_name": "image",
        "type": "brushlabels",
        "origin": "prediction",
        "score": 0.9,
        "original_width": 64,
        "original_height": 48,
        "image_rotation": 0,
        "value": {"format": "rle", "brushlabels": ["car"]},
        "meta": {"prompt": "the red car", "model_version": "demo-1a2b3c4d"},
    }
    np.testing.assert_array_equal(decode_mask(rle, 48, 64), MASK)


def test_label_studios_own_decoder_finds_the_mask_in_all_four_channels() -> None:
    (region,) = regions()
    image = np.reshape(decode_rle(region["value"]["rle"]), (48, 64, 4))
    np.testing.assert_array_equal(image, np.repeat(MASK[..., None] * np.uint8(255), 4, axis=2))


def test_brush_and_labels_take_two_results_of_one_id() -> None:
    brush, label = regions(control=BRUSH)
    assert (brush["type"], brush["from_name"]) == ("brush", "brush")
    assert set(brush["value"]) == {"format", "rle"}
    assert (label["type"], label["from_name"]) == ("labels", "class")
    assert label["value"] == {**brush["value"], "labels": ["car"]}
    shared = brush.keys() - {"type", "from_name", "value"}
    assert {key: brush[key] for key in shared} == {key: label[key] for key in shared}


def test_a_prompt_without_a_label_gives_a_mask_without_one() -> None:
    unlabelled = LabelledPrompt("the big thing", "")
    (region,) = regions(unlabelled)
    assert region["value"]["brushlabels"] == []
    (brush,) = regions(unlabelled, BRUSH)
    assert brush["type"] == "brush"
    (alone,) = regions(CAR, MaskControl("brush", "image", "brush+labels"))
    assert alone["type"] == "brush"


@pytest.mark.parametrize(
    ("control", "config"), [(BRUSH_LABELS, EXAMPLE_CONFIG), (BRUSH, BRUSH_CONFIG)]
)
@pytest.mark.parametrize("prompt", [CAR, LabelledPrompt("the big thing", "")])
def test_label_studio_accepts_the_regions(
    control: MaskControl, config: str, prompt: LabelledPrompt
) -> None:
    prediction = {
        "result": regions(prompt, control),
        "score": 0.9,
        "model_version": "demo-1a2b3c4d",
    }
    assert LabelInterface(config).validate_prediction(prediction, return_errors=True) == []


def test_an_empty_mask_is_no_region() -> None:
    empty = np.zeros((4, 5), dtype=np.bool_)
    for kind in ("brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels"):
        control = MaskControl("mask", "image", kind)
        assert regions(control=control, mask=empty) == []
        assert regions(control=control, mask=empty, parameters=SEPARATE) == []


def test_the_id_is_that_of_image_prompt_control_version_and_parameters() -> None:
    (region,) = regions()
    assert regions() == [region]
    (upper_case,) = regions(LabelledPrompt("The Red Car", "car"))
    assert upper_case["id"] == region["id"]
    others = [
        regions(image_digest="other"),
        regions(LabelledPrompt("the red car", "bus")),
        regions(LabelledPrompt("the car", "car")),
        regions(control=replace(BRUSH_LABELS, from_name="other")),
        regions(control=replace(BRUSH_LABELS, kind="bitmasklabels")),
        regions(model_version="demo-2"),
        regions(parameters=MaskParameters(threshold=0.4)),
        regions(parameters=SEPARATE),
    ]
    assert len({region["id"], *(other["id"] for (other,) in others)}) == 1 + len(others)
    assert all(len(other["id"]) == 12 and "#" not in other["id"] for (other,) in others)


def test_each_piece_is_a_region_if_so_asked_the_largest_first() -> None:
    (together,) = regions(mask=SQUARES)
    np.testing.assert_array_equal(decode_mask(together["value"]["rle"], 48, 64), SQUARES)
    large, small = regions(mask=SQUARES, parameters=SEPARATE)
    assert decode_mask(large["value"]["rle"], 48, 64).sum() == 24 * 32
    assert decode_mask(small["value"]["rle"], 48, 64).sum() == 64
    assert large["id"] != small["id"]


POLYGON_LABELS = MaskControl("outline", "image", "polygonlabels")


@pytest.mark.parametrize("shape", ["brush", "bitmask", "polygon", "rectangle"])
def test_the_largest_piece_alone_is_one_region(shape: str) -> None:
    control = MaskControl("shape", "image", CONTROL_KINDS[f"{shape}labels"])
    (region,) = regions(control=control, mask=SQUARES, parameters=LARGEST)
    largest = SQUARES.copy()
    largest[:12] = False
    (alone,) = regions(control=control, mask=largest, parameters=LARGEST)
    assert region == alone
    assert region["id"] not in {each["id"] for each in regions(control=control, mask=SQUARES)}


@pytest.mark.parametrize("parameters", [TOGETHER, SEPARATE])
def test_polygons_are_one_region_per_piece_in_percent(parameters: MaskParameters) -> None:
    large, small = regions(control=POLYGON_LABELS, mask=SQUARES, parameters=parameters)
    assert large["type"] == "polygonlabels"
    assert large["value"].keys() == {"points", "closed", "polygonlabels"}
    assert large["value"]["closed"] is True
    assert large["value"]["polygonlabels"] == ["car"]
    corners = [[x, y] for x in (50.0, 100.0) for y in (41.6667, 91.6667)]
    assert sorted(large["value"]["points"]) == corners
    assert len(small["value"]["points"]) == 4
    together = regions(control=POLYGON_LABELS, mask=SQUARES)
    assert [each["id"] for each in together] == [large["id"], small["id"]]


def test_a_rectangle_is_one_box_per_prompt_or_per_piece_in_percent() -> None:
    control = MaskControl("box", "image", "rectanglelabels")
    (box,) = regions(control=control, mask=SQUARES)
    assert box["value"] == {
        "x": 6.25,
        "y": pytest.approx(100 * 4 / 48),
        "width": 93.75,
        "height": pytest.approx(100 * 40 / 48),
        "rotation": 0,
        "rectanglelabels": ["car"],
    }
    large, small = regions(control=control, mask=SQUARES, parameters=SEPARATE)
    assert (large["value"]["x"], large["value"]["width"]) == (50, 50)
    assert (small["value"]["x"], small["value"]["width"]) == (6.25, 12.5)


@settings(deadline=None)
@given(st.integers(1, 5000), st.data())
def test_a_rectangle_stays_inside_the_image(width: int, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, width - 1))
    mask = np.zeros((1, width), dtype=np.bool_)
    mask[:, left:] = True
    (box,) = regions(control=MaskControl("box", "image", "rectanglelabels"), mask=mask)
    value = box["value"]
    assert 0 <= value["x"] <= 100
    assert 0 < value["width"] <= 100 - value["x"]
    assert value["x"] + value["width"] == pytest.approx(100)


def test_a_bitmask_has_the_mask_in_its_alpha() -> None:
    (region,) = regions(control=MaskControl("bits", "image", "bitmasklabels"))
    assert region["value"].keys() == {"imageDataURL", "bitmasklabels"}
    png = base64.b64decode(region["value"]["imageDataURL"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(png)) as image:
        np.testing.assert_array_equal(np.asarray(image)[..., 3] == 255, MASK)


@pytest.mark.parametrize("shape", ["bitmask", "polygon", "rectangle"])
def test_shapes_beside_a_labels_tag_take_two_results_of_one_id(shape: str) -> None:
    config = parse_label_config(
        f"""<View><Image name="image" value="$image"/><{shape} name="shape" toName="image"/>
        <Labels name="class" toName="image"><Label value="car"/></Labels></View>"""
    )
    drawn, label = regions(control=config.control)
    assert (drawn["type"], drawn["from_name"]) == (shape, "shape")
    assert (label["type"], label["from_name"], label["id"]) == ("labels", "class", drawn["id"])
    assert label["value"] == {**drawn["value"], "labels": ["car"]}


def test_specks_are_not_drawn() -> None:
    specked = MASK.copy()
    specked[40, 60] = True
    specked[15, 15] = False
    (region,) = regions(mask=specked)
    np.testing.assert_array_equal(decode_mask(region["value"]["rle"], 48, 64), MASK)


@pytest.mark.parametrize("kind", ["polygonlabels", "rectanglelabels"])
def test_the_largest_regions_are_kept(kind: Any) -> None:
    dots = np.zeros((20, 2 * MAX_REGIONS + 20), dtype=np.bool_)
    dots[1, ::2] = True
    dots[10:14, 4:8] = True
    found = regions(control=MaskControl("m", "image", kind), mask=dots, parameters=SEPARATE)
    assert len(found) == len({region["id"] for region in found}) == MAX_REGIONS
    first = found[0]["value"]
    top = first["y"] if "y" in first else min(y for _, y in first["points"])
    assert top == 50


@pytest.mark.parametrize(
    ("prompts", "most"), [(1, 50), (4, 50), (5, 40), (20, 10), (150, 1), (300, 1)]
)
def test_prompts_share_what_the_editor_can_take(prompts: int, most: int) -> None:
    assert regions_of_each(prompts) == most


@pytest.mark.parametrize(
    ("score", "shown"),
    [(0.25, 0.25), (-1e-6, 0.0), (1.0000001, 1.0), (float("nan"), 0.0), (float("inf"), 1.0)],
)
def test_a_score_is_a_number_from_zero_to_one(score: float, shown: float) -> None:
    (region,) = regions(score=score)
    assert region["score"] == shown


def test_regions_are_plain_json() -> None:
    (region,) = regions(score=np.float64(0.5))
    assert type(region["score"]) is float
    assert json.loads(json.dumps(region)) == region
