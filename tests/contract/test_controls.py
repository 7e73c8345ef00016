"""Each kind of control in a real request: what Label Studio's own validation says of the reply."""

import numpy as np
import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.jobs import job_for_task
from backend.label_config import parse_label_config
from backend.regions import mask_regions
from tests.contract.scene import COLOURS, ColourPredictor, Pixels, scene

TASK = {"id": 1, "data": {"image": "/data/upload/1/scene.png"}}
LABELS = "".join(f'<Label value="{colour}" alias="colour-{colour}"/>' for colour in COLOURS)
SHAPES = ["Brush", "Bitmask", "Polygon", "Rectangle"]


def config(shape: str, *, beside_labels: bool) -> str:
    control = (
        f'<{shape} name="shape" toName="image"/><Labels name="l" toName="image">{LABELS}</Labels>'
        if beside_labels
        else f'<{shape}Labels name="shape" toName="image">{LABELS}</{shape}Labels>'
    )
    return f"""<View>
      <TextArea name="prompt" toName="image" smartOnly="true"/>
      {control}
      <Number name="threshold" toName="image" defaultValue="0.5"/>
      <Choices name="mode" toName="image">
        <Choice value="one"/><Choice value="each"/><Choice value="everything"/>
      </Choices>
      <Image name="image" value="$image"/>
    </View>"""


@pytest.mark.parametrize("prompt", ["the red square; the blue disc", "anything red or blue"])
@pytest.mark.parametrize("mode", ["one", "each", "everything"])
@pytest.mark.parametrize("beside_labels", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_label_studio_accepts_the_regions_of_every_control(
    shape: str, beside_labels: bool, mode: str, prompt: str
) -> None:
    xml = config(shape, beside_labels=beside_labels)
    interface = LabelInterface(xml)
    interface.validate()
    context = {
        "result": [
            {"from_name": "prompt", "type": "textarea", "value": {"text": [prompt]}},
            {"from_name": "mode", "type": "choices", "value": {"choices": [mode]}},
        ]
    }
    job = job_for_task(TASK, context, parse_label_config(xml), "demo-1a2b3c4d")
    assert job is not None
    model, image = ColourPredictor(), Pixels(np.asarray(scene()))
    texts = [each.text for each in job.prompts]
    found = model.segment(image, texts, threshold=job.parameters.threshold)
    result = [
        region
        for asked, segmentation in zip(job.prompts, found, strict=True)
        for region in mask_regions(
            segmentation.mask,
            segmentation.score,
            asked,
            job.control,
            parameters=job.parameters,
            image_digest="scene",
            model_version=job.model_version,
        )
    ]
    prediction = {"result": result, "score": 0.75, "model_version": job.model_version}
    assert interface.validate_prediction(prediction, return_errors=True) == []
    whole = mode == "one" or (mode == "everything" and shape != "Polygon")
    assert len({region["id"] for region in result}) == (1 if whole and len(texts) == 1 else 2)
