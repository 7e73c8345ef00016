"""A Label Studio of our own takes a project with images, and refuses most private addresses."""

import pytest

from backend.errors import LabelStudioError
from backend.service_process import free_port
from tests.conftest import SAMPLES, ProjectCreator, RunningLabelStudio

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="mask" toName="image"><Label value="Cat"/></BrushLabels></View>"""


def test_uploaded_images_become_tasks_in_order(
    label_studio: RunningLabelStudio, create_project: ProjectCreator
) -> None:
    project = create_project(CONFIG, (SAMPLES / "cat.jpg", SAMPLES / "coffee.jpg"))

    urls = [task["data"]["image"] for task in label_studio.admin.tasks(project)]

    assert [url.rsplit("-", 1)[1] for url in urls] == ["cat.jpg", "coffee.jpg"]
    assert all(url.startswith("/data/upload/") for url in urls)


def test_finds_a_project_by_its_exact_title(
    label_studio: RunningLabelStudio, create_project: ProjectCreator
) -> None:
    project = create_project(CONFIG)

    title = "test_finds_a_project_by_its_exact_title"
    assert label_studio.admin.find_project(title) == project
    assert label_studio.admin.find_project(title[:-1]) is None


def test_private_addresses_other_than_loopback_stay_banned(
    create_project: ProjectCreator,
) -> None:
    # Banned, yet on this machine: nothing could leave it even if the ban failed.
    with pytest.raises(LabelStudioError, match="reserved network address"):
        create_project(CONFIG, backend_url="http://0.0.0.0:9090")


def test_loopback_is_let_in_as_far_as_the_health_check(create_project: ProjectCreator) -> None:
    with pytest.raises(LabelStudioError, match="health check failed"):
        create_project(CONFIG, backend_url=f"http://127.0.0.1:{free_port()}")
