"""The project that the demo opens with: sample photos, a prompt box and a few labels."""

from pathlib import Path

import self1e
from backend.label_studio_admin import LabelStudioAdmin

SAMPLES = Path(self1e.__file__).parent / "samples"

PROJECT_TITLE = "SELF1E demo"
LABEL_CONFIG = """\
<View>
  <Header size="5" value="Switch on Auto-Annotation, type what to mark, press Enter, accept."/>
  <TextArea name="prompt" toName="image" smartOnly="true" rows="1"
            placeholder="for example: the cat"/>
  <BrushLabels name="mask" toName="image" smart="false">
    <Label value="Cat" background="#1f77b4"/>
    <Label value="Person" background="#2ca02c"/>
    <Label value="Hair" background="#d62728"/>
    <Label value="Cup" background="#17becf"/>
  </BrushLabels>
  <Image name="image" value="$image" zoom="true" defaultZoom="fit"/>
</View>
"""


def ready_project(admin: LabelStudioAdmin, backend_url: str) -> int:
    """Makes the project unless it is there, and connects it to the backend.

    Parts that are missing after an interrupted first start are added.

    Args:
        admin: of the Label Studio that the project is or will be in.
        backend_url: where the backend listens this time.

    Returns:
        The project's id.

    Raises:
        LabelStudioError: Label Studio refuses, or cannot reach the backend.
    """
    project = admin.find_project(PROJECT_TITLE)
    if project is None:
        project = admin.create_project(PROJECT_TITLE, LABEL_CONFIG)
    if not admin.tasks(project):
        admin.upload_images(project, sorted(SAMPLES.glob("*.jpg")))
    admin.connect_backend(project, backend_url)
    return project
