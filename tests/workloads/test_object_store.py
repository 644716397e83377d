"""What the images copy of `workloads` is all that their programs import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.images import laid_out, run
from workloads.object_store import EXPECTED, Missing, ObjectStore

ROOT = Path(__file__).parents[2]


def test_the_serving_image_has_every_module_that_a_fetch_imports(tmp_path: Path) -> None:
    dockerfile = (ROOT / "workloads/serving/Dockerfile").read_text()
    found = run(laid_out(dockerfile, tmp_path), "import workloads.serving.fetch as f; print(f.__file__)")
    assert found.strip() == str(tmp_path / "workloads/serving/fetch.py")


def test_objects_are_read_whole_in_part_and_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"0123456789")
    store = ObjectStore(tmp_path.as_uri())
    data, size = store.whole("a b", 10)
    assert (bytes(data), size) == (b"0123456789", 10)
    assert store.whole("a b", 9) == (b"", 10)
    data, size = store.part("a b", 8, 12)
    assert (bytes(data), size) == (b"89", 10)
    assert store.part("a b", 3, 3) == (b"", 10)
    with pytest.raises(Missing, match="nothing"):
        store.whole("nothing", 1)


@pytest.mark.parametrize("url", ["", "data", "ftp://host/data", "s3://", "file:///"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=re.escape(EXPECTED)):
        ObjectStore(url)
