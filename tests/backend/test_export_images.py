from pathlib import Path

import pytest

from backend.errors import ImageError, LabelStudioError
from backend.export_images import ExportImages
from backend.settings import Settings
from tests.web_server import Reply, web_server


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "dir").mkdir(parents=True)
    (root / "name é.jpg").write_bytes(b"original")
    (root / "dir" / "b.jpg").write_bytes(b"in a directory")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return root


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("/data/upload/1/0123abcd-name%20%C3%A9.jpg", b"original"),
        (" /data/upload/1/0123abcd-name é.jpg ", b"original"),
        ("http://label-studio.test/data/upload/1/0123abcd-name%20%C3%A9.jpg", b"original"),
        ("name é.jpg", b"original"),
        ("/data/local-files/?d=dir/b.jpg", b"in a directory"),
        ("/data/local-files/?d=/dir/b.jpg", b"in a directory"),
        ("/data/local-files/?d=elsewhere/b.jpg", None),
        ("s3://bucket/dir/b.jpg", b"in a directory"),
        ("https://photos.test/dir/b.jpg?signature=1", b"in a directory"),
        ("/data/local-files/?d=../secret.jpg", None),
        ("/../secret.jpg", None),
    ],
)
def test_files_under_the_root(root: Path, url: str, content: bytes | None) -> None:
    images = ExportImages(Settings(), root)
    if content is not None:
        assert images.fetch(url, task_id=1) == content
        return
    with pytest.raises(ImageError, match=f"under {root}.*LABEL_STUDIO_URL"):
        images.fetch(url, task_id=1)


def test_the_uploaded_name_comes_before_the_original_one(root: Path) -> None:
    (root / "0123abcd-name é.jpg").write_bytes(b"uploaded")
    images = ExportImages(Settings(), root)
    assert images.fetch("/data/upload/1/0123abcd-name é.jpg") == b"uploaded"
    assert images.fetch("/data/upload/1/4567abcd-name é.jpg") == b"original"


@pytest.mark.parametrize("has_root", [True, False])
def test_what_is_not_there_is_fetched(root: Path, has_root: bool) -> None:
    with web_server(lambda _: Reply(body=b"from the web")) as server:
        settings = Settings(private_image_hosts=server.address)
        images = ExportImages(settings, root if has_root else None)
        assert images.fetch(f"{server.url}/c.jpg") == b"from the web"


def test_without_a_root_uploads_are_label_studios() -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL"):
        ExportImages(Settings()).fetch("/data/upload/1/a.jpg")


def test_files_over_the_limit_are_refused(root: Path) -> None:
    (root / "large.jpg").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ImageError, match="SELF1E_MAX_IMAGE_MB"):
        ExportImages(Settings(max_image_mb=1), root).fetch("large.jpg")


def test_the_root_must_be_a_directory(root: Path) -> None:
    with pytest.raises(ImageError, match="no directory"):
        ExportImages(Settings(), root / "none")
