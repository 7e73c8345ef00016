"""A project of a real Label Studio and its JSON export teach the same."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from pydantic import SecretStr

from backend.errors import LabelStudioError
from backend.export_images import ExportImages
from backend.export_source import collect_export
from backend.finetune import main
from backend.images import decode_image
from backend.label_studio_files import LabelStudioFiles
from backend.project_source import collect_project
from backend.projects_api import ProjectsApi
from backend.settings import Settings
from tests.annotated import brush, polygon, typed
from tests.conftest import SAMPLES, ProjectCreator, RunningLabelStudio

# The SDK's exchange of a personal access token uses it.
pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" smartOnly="true" rows="1"/>
  <BrushLabels name="mask" toName="image" smart="false">
    <Label value="Cat"/>
    <Label value="Cup" alias="cup" prompt="the coffee cup"/>
  </BrushLabels>
  <PolygonLabels name="polygon" toName="image"><Label value="Cat"/></PolygonLabels>
</View>"""
IMAGES = ("cat.jpg", "coffee.jpg", "astronaut.jpg", "photographer.jpg")


class Project:
    """A project in which annotators have been at work."""

    def __init__(self, label_studio: RunningLabelStudio, id_: int) -> None:
        self.id = id_
        self.settings = Settings(
            label_studio_url=label_studio.url,
            label_studio_api_key=SecretStr(label_studio.login.api_key),
        )
        self._url = label_studio.url
        self._headers = {"Authorization": f"Token {label_studio.login.api_key}"}
        by_name = {
            task["data"]["image"].rpartition("-")[2]: task for task in label_studio.admin.tasks(id_)
        }
        self.tasks = {name: int(by_name[name]["id"]) for name in IMAGES}

    def post(self, path: str, body: Any) -> Any:
        reply = requests.post(self._url + path, json=body, headers=self._headers, timeout=60)
        reply.raise_for_status()
        return reply.json()

    def annotate(self, name: str, *results: dict[str, Any], **changes: Any) -> int:
        body = {"result": [_of_image(name, each) for each in results], "lead_time": 2.5} | changes
        return int(self.post(f"/api/tasks/{self.tasks[name]}/annotations/", body)["id"])

    def predict(self, name: str, *results: dict[str, Any]) -> int:
        body = {
            "task": self.tasks[name],
            "result": [_of_image(name, each) for each in results],
            "model_version": "demo-00000000",
        }
        return int(self.post("/api/predictions/", body)["id"])

    def export(self, file: Path, kind: str = "JSON") -> Path:
        """What the Export button gives: of predictions it has the ids only."""
        path = f"/api/projects/{self.id}/export"
        file.write_bytes(self._get(path, exportType=kind))
        return file

    def snapshot(self, file: Path) -> Path:
        """An export with the predictions in full."""
        exports = f"/api/projects/{self.id}/exports/"
        options = {"serialization_options": {"predictions": {"only_id": False}}}
        number = self.post(exports, {"title": "with predictions", **options})["id"]
        file.write_bytes(self._get(f"{exports}{number}/download", exportType="JSON"))
        return file

    def _get(self, path: str, **params: str) -> bytes:
        reply = requests.get(self._url + path, params=params, headers=self._headers, timeout=60)
        reply.raise_for_status()
        return reply.content


def _of_image(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """The result with the size of the photo, and its mask drawn there."""
    if result["type"] == "textarea":
        return result
    image = decode_image((SAMPLES / name).read_bytes(), max_megapixels=10)
    width, height = image.size
    size = {"original_width": width, "original_height": height}
    if result["type"] != "brushlabels" or not result["value"].get("rle"):
        return result | size
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[height // 4 : height // 2, width // 3 : width // 2] = True
    drawn = brush(mask, prompt=result.get("meta", {}).get("prompt", ""))
    labels = {"brushlabels": result["value"].get("brushlabels", [])}
    return result | size | {"value": drawn["value"] | labels}


SOME = np.ones((1, 1), dtype=np.bool_)  # drawn again in the photo's size


@pytest.fixture
def project(label_studio: RunningLabelStudio, create_project: ProjectCreator) -> Project:
    """What annotators' browsers save, through the same API."""
    id_ = create_project(CONFIG, tuple(SAMPLES / name for name in IMAGES))
    project = Project(label_studio, id_)
    # Typed, accepted; the first prompt gave nothing.
    project.annotate(
        "cat.jpg",
        brush(SOME, "Cat", prompt="the sleeping cat"),
        typed("the coffee cup", "the sleeping cat"),
    )
    # Started from a prediction, of which one region was deleted; saved again later.
    cup = brush(SOME, "cup", prompt="the coffee cup")
    prediction = project.predict("coffee.jpg", cup, brush(SOME, "Cat", prompt="Cat"))
    project.annotate("coffee.jpg", cup, parent_prediction=prediction)
    # Drawn by hand; an earlier one by the same annotator is replaced.
    project.annotate("astronaut.jpg", brush(SOME, "cup"))
    project.annotate("astronaut.jpg", polygon([[10, 10], [50, 10], [50, 60]], "Cat"))
    # Skipped.
    project.annotate("photographer.jpg", was_cancelled=True)
    return project


def test_both_ways_teach_the_same(project: Project, tmp_path: Path) -> None:
    through_api = collect_project(ProjectsApi(project.settings), project.id)
    tasks = project.tasks
    assert [(each.task_id, each.prompt, each.label, each.kind) for each in through_api.samples] == [
        (tasks["cat.jpg"], "the coffee cup", "cup", "negative"),
        (tasks["cat.jpg"], "the sleeping cat", "Cat", "accepted"),
        (tasks["coffee.jpg"], "Cat", "Cat", "negative"),
        (tasks["coffee.jpg"], "the coffee cup", "cup", "accepted"),
        (tasks["astronaut.jpg"], "Cat", "Cat", "drawn"),
    ]
    assert through_api.annotations == 3
    assert {reason: each.count for reason, each in through_api.left_out.items()} == {
        "annotation that another one of its task replaces": 1,
        "cancelled annotation": 1,
    }
    assert through_api.left_out["cancelled annotation"].task_ids == (tasks["photographer.jpg"],)

    offline = collect_export(project.snapshot(tmp_path / "snapshot.json"), CONFIG)
    assert offline == through_api
    assert offline.fingerprint == through_api.fingerprint


def test_an_export_of_the_button_lacks_only_what_was_deleted_of_predictions(
    project: Project, tmp_path: Path
) -> None:
    through_api = collect_project(ProjectsApi(project.settings), project.id)
    export = project.export(tmp_path / "export.json")
    offline = collect_export(export, CONFIG)
    lost = [each for each in through_api.samples if each not in offline.samples]
    assert [(each.prompt, each.kind) for each in lost] == [("Cat", "negative")]
    assert [each for each in through_api.samples if each not in lost] == list(offline.samples)
    reason = "prediction that is not kept, and with it what was deleted of it"
    assert offline.left_out[reason].task_ids == (project.tasks["coffee.jpg"],)

    # Without its labeling config an export only lacks what labels are called and asked by.
    guessed = collect_export(export)
    assert [each.digest for each in guessed.samples if each.kind == "accepted"] == [
        each.digest for each in offline.samples if each.kind == "accepted"
    ]


@pytest.mark.parametrize("renamed", [True, False])
def test_images_of_the_samples_fit_their_masks(
    project: Project, tmp_path: Path, renamed: bool
) -> None:
    collected = collect_project(ProjectsApi(project.settings), project.id)
    root = tmp_path / "photos"
    root.mkdir()
    for sample in collected.samples:
        uploaded = sample.image_url.rpartition("/")[2]
        original = uploaded.partition("-")[2]
        (root / (original if renamed else uploaded)).write_bytes((SAMPLES / original).read_bytes())
    sources = (LabelStudioFiles(project.settings), ExportImages(Settings(), root))
    for sample in collected.samples:
        digests = set()
        for source in sources:
            data = source.fetch(sample.image_url, task_id=sample.task_id)
            digests.add(hashlib.sha256(data).hexdigest())
            width, height = decode_image(data, max_megapixels=10).size
            assert sample.mask(height, width).any() == (sample.kind != "negative")
        assert len(digests) == 1


@pytest.fixture
def personal_access_token(project: Project) -> Iterator[str]:
    token = str(project.post("/api/token/", {})["token"])
    yield token
    requests.post(
        f"{project.settings.label_studio_url}/api/token/blacklist/",
        json={"refresh": token},
        headers={
            "Authorization": f"Token {project.settings.label_studio_api_key.get_secret_value()}"
        },
        timeout=60,
    ).raise_for_status()


def test_a_personal_access_token_reads_the_same(
    project: Project, personal_access_token: str
) -> None:
    settings = project.settings.model_copy(
        update={"label_studio_api_key": SecretStr(personal_access_token)}
    )
    assert collect_project(ProjectsApi(settings), project.id) == collect_project(
        ProjectsApi(project.settings), project.id
    )


def test_more_tasks_than_a_page_holds(
    label_studio: RunningLabelStudio, create_project: ProjectCreator
) -> None:
    id_ = create_project(CONFIG)
    imported = [
        {
            "data": {"image": f"http://photos.test/{number}.jpg"},
            "annotations": [
                {
                    "result": [
                        brush(
                            np.ones((3, 4), dtype=np.bool_),
                            "Cat",
                            original_width=4,
                            original_height=3,
                        )
                    ]
                }
            ],
        }
        for number in range(23)
    ]
    reply = requests.post(
        f"{label_studio.url}/api/projects/{id_}/import",
        json=imported,
        headers={"Authorization": f"Token {label_studio.login.api_key}"},
        timeout=60,
    )
    reply.raise_for_status()
    settings = Settings(
        label_studio_url=label_studio.url,
        label_studio_api_key=SecretStr(label_studio.login.api_key),
    )
    collected = collect_project(ProjectsApi(settings), id_)
    assert sorted(each.image_url for each in collected.samples) == sorted(
        f"http://photos.test/{number}.jpg" for number in range(23)
    )
    assert len({each.task_id for each in collected.samples}) == 23


def test_what_is_not_there_is_an_error(project: Project) -> None:
    api = ProjectsApi(project.settings)
    with pytest.raises(LabelStudioError, match="404 for /api/projects/99999999"):
        collect_project(api, 99999999)
    wrong = project.settings.model_copy(update={"label_studio_api_key": SecretStr("0" * 40)})
    with pytest.raises(LabelStudioError, match="refuses the API key"):
        collect_project(ProjectsApi(wrong), project.id)


def test_a_dry_run_says_what_it_would_learn_from(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    api_key = project.settings.label_studio_api_key.get_secret_value()
    monkeypatch.setenv("LABEL_STUDIO_URL", project.settings.label_studio_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", api_key)
    assert main(["--project", str(project.id), "--dry-run"]) == 0
    from_project = capsys.readouterr().out
    assert "5 samples of 3 tasks from 3 annotations" in from_project
    assert "accepted from a prompt: 2, drawn by hand: 1, prompts with nothing left: 2" in (
        from_project
    )
    assert f"1 cancelled annotation (tasks {project.tasks['photographer.jpg']})" in from_project
    assert api_key not in from_project

    config = tmp_path / "config.xml"
    config.write_text(CONFIG)
    export = project.snapshot(tmp_path / "export.json")
    arguments = ["--export", str(export), "--label-config", str(config), "--dry-run"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == from_project

    minimal = project.export(tmp_path / "minimal.json", "JSON_MIN")
    assert json.loads(minimal.read_text())
    assert main(["--export", str(minimal), "--dry-run"]) == 1
    assert "JSON_MIN" in capsys.readouterr().err
