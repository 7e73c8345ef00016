"""Images out of a real Label Studio, with both kinds of API key."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from pydantic import SecretStr

from backend.errors import LabelStudioError
from backend.label_studio_files import LabelStudioFiles
from backend.settings import Settings
from tests.conftest import ProjectCreator, RunningLabelStudio
from tests.web_server import Reply, web_server

# The SDK's exchange of a personal access token uses it.
pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")

LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image"><Label value="cat"/></BrushLabels>
</View>"""


def post(label_studio: RunningLabelStudio, path: str, body: dict[str, object]) -> Any:
    response = requests.post(
        label_studio.url + path,
        json=body,
        headers={"Authorization": f"Token {label_studio.login.api_key}"},
        timeout=30,
    )
    response.raise_for_status()
    return response.json() if response.content else None


@pytest.fixture(scope="module")
def personal_access_token(label_studio: RunningLabelStudio) -> Iterator[str]:
    """A user has one at a time, so it is revoked in the end."""
    token = str(post(label_studio, "/api/token/", {})["token"])
    yield token
    post(label_studio, "/api/token/blacklist/", {"refresh": token})


@pytest.fixture(params=["legacy", "personal"])
def api_key(request: pytest.FixtureRequest, label_studio: RunningLabelStudio) -> str:
    if request.param == "legacy":
        return label_studio.login.api_key
    return str(request.getfixturevalue("personal_access_token"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "a picture é.jpg"
    Image.new("RGB", (40, 30), "red").save(file)
    return file


def client(
    label_studio: RunningLabelStudio, api_key: str, private_image_hosts: str = ""
) -> LabelStudioFiles:
    return LabelStudioFiles(
        Settings(
            label_studio_url=label_studio.url,
            label_studio_api_key=SecretStr(api_key),
            private_image_hosts=private_image_hosts,
        )
    )


def test_an_uploaded_image(
    label_studio: RunningLabelStudio, create_project: ProjectCreator, api_key: str, picture: Path
) -> None:
    project = create_project(LABEL_CONFIG, images=(picture,))
    (task,) = label_studio.admin.tasks(project)
    value = task["data"]["image"]
    assert value.startswith("/data/upload/")
    images = client(label_studio, api_key)
    assert images.fetch(value, task_id=task["id"]) == picture.read_bytes()
    assert images.fetch(label_studio.url + value) == picture.read_bytes()


@pytest.mark.parametrize("signed", [True, False])
def test_an_image_in_a_storage(
    label_studio: RunningLabelStudio,
    create_project: ProjectCreator,
    api_key: str,
    picture: Path,
    signed: bool,
) -> None:
    """Label Studio redirects to a signed URL of the bucket, or passes the file on itself."""
    project = create_project(LABEL_CONFIG, images=(picture,))
    (task,) = label_studio.admin.tasks(project)
    bucket = f"bucket-{uuid.uuid4()}"
    with web_server(lambda _: Reply(body=b"picture in the bucket")) as storage:
        post(
            label_studio,
            "/api/storages/s3",
            {
                "project": project,
                "bucket": bucket,
                "s3_endpoint": storage.url,
                "aws_access_key_id": "test",
                "aws_secret_access_key": "test",
                "region_name": "us-east-1",
                "presign": signed,
            },
        )
        images = client(label_studio, api_key, private_image_hosts=storage.address)
        fetched = images.fetch(f"s3://{bucket}/dir/a.png", task_id=task["id"])
        request = storage.requests[-1]
    assert fetched == b"picture in the bucket"
    path, _, query = request.target.partition("?")
    assert path == f"/{bucket}/dir/a.png"
    assert ("X-Amz-Signature" in query) == signed
    assert ("Authorization" in request.headers) != signed  # Label Studio's own, for the bucket
    assert not any(api_key in value for value in request.headers.values())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("/data/upload/1/deleted.png", "answered 500 .* was deleted"),
        ("/data/local-files/?d=a.png", "answered 403 .*LOCAL_FILES_SERVING_ENABLED=true"),
        ("s3://no-such-bucket/a.png", "answered 404 .*no storage of the project"),
    ],
)
def test_what_cannot_be_read(
    label_studio: RunningLabelStudio,
    create_project: ProjectCreator,
    api_key: str,
    picture: Path,
    value: str,
    says: str,
) -> None:
    project = create_project(LABEL_CONFIG, images=(picture,))
    (task,) = label_studio.admin.tasks(project)
    with pytest.raises(LabelStudioError, match=says):
        client(label_studio, api_key).fetch(value, task_id=task["id"])


def test_an_unknown_legacy_key(label_studio: RunningLabelStudio) -> None:
    with pytest.raises(LabelStudioError, match="refuses the API key"):
        client(label_studio, "0" * 40).fetch("/data/upload/1/a.png")


def test_a_forged_personal_access_token(
    label_studio: RunningLabelStudio, personal_access_token: str
) -> None:
    forged = personal_access_token[:-4] + "AAAA"
    with pytest.raises(LabelStudioError, match=r"does not accept LABEL_STUDIO_API_KEY \(401"):
        client(label_studio, forged).fetch("/data/upload/1/a.png")
