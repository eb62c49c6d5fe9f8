"""Directories of images as people have them: which layout is read how, and what is ignored or rejected."""

import shutil

import pytest
from PIL import Image

from firstlight.data.image_files import list_images
from firstlight.data.image_folder import ImageFolderDataModule
from firstlight.data.image_formats import get_formats
from firstlight.run.errors import DataError

CLASSES = ("cat", "dog")


@pytest.fixture
def add_images(tmp_path):
    """Return a function that adds images under the root directory, by path of their directory."""
    image = tmp_path / "image.png"
    Image.new("RGB", (4, 4)).save(image)

    def add(*directories, count=10, name="{}.png"):
        for directory in directories:
            path = tmp_path / "root" / directory
            path.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                shutil.copy(image, path / name.format(index))

    add.root = tmp_path / "root"
    return add


@pytest.fixture
def without_heif(monkeypatch):
    """Run the test as if pillow-heif were not installed."""
    monkeypatch.setattr("firstlight.data.image_formats.is_installed", lambda module: False)
    get_formats.cache_clear()
    yield
    get_formats.cache_clear()


def setup(root, **kwargs):
    data = ImageFolderDataModule(str(root), image_size=4, num_workers=0, **kwargs)
    data.setup()
    return data


def count(data):
    return {name: len(dataset) for name, dataset in data.datasets.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "Valid", "Eval"),
        ("training", "dev", "evaluation"),
        ("seg_train", "seg_valid", "seg_test"),
        ("train2017", "val2017", "test-2017"),
        ("training_set", "validation_set", "test_set"),
    ],
)
def test_directories_of_splits_are_recognized(add_images, names):
    for split, number in zip(names, (10, 3, 2), strict=True):
        add_images(*(f"{split}/{name}" for name in CLASSES), count=number)
    data = setup(add_images.root)

    assert data.class_names == ["cat", "dog"]
    assert count(data) == {"train": 20, "val": 6, "test": 4}


@pytest.mark.parametrize("classes", [("bus", "car", "train"), ("test_tube", "flask"), ("devil", "valley", "trainer")])
def test_class_may_be_named_like_a_split(add_images, classes):
    add_images(*classes)

    assert setup(add_images.root).class_names == sorted(classes)


@pytest.mark.parametrize(
    ("directories", "message"),
    [
        (
            ("cat", "dog", "test"),
            "root is ambiguous: test is named like a split, but cat, dog next to it like a class. ",
        ),
        (("cat", "dog", "train/cat"), "root is ambiguous: train is named like a split, but cat, dog next to it like"),
        (
            ("train/cat", "val/cat", "valid/cat"),
            "root is ambiguous: val, valid are directories of the split 'val'. Ren",
        ),
        (("train/cat", "Train/cat"), "root is ambiguous: Train, train are directories of the split 'train'"),
        (("val/cat", "test/cat"), "root contains the split directories test, val, but none for training. Add a dir"),
        (("train", "test"), r"root/train must contain at least 2 class directories, got 0 \(10 images outside\)"),
        (("train/cat", "train/dog", "test"), "root/test contains no class directories, and the classes of its 10 im"),
        (("train/cat", "train/dog", "val/cow"), "root/val has the classes cow, which .*root/train lacks. Rename or re"),
        (("train/Cat", "train/dog", "val/cat"), "root/val has the classes cat, which .*root/train lacks"),
        (("cat/train", "cat/test", "dog/train"), "the class cat contains the directories test, train. Move the splits"),
        (
            ("x/cat", "x/dog"),
            "at least 2 class directories, got only x. If the classes are in x, set data.root=.*x, or",
        ),
        (("caf\u00e9", "cafe\u0301", "dog"), "root contains two directories named 'caf\u00e9'. Merge them"),
    ],
)
def test_ambiguous_layout_is_rejected(add_images, directories, message):
    add_images(*directories)

    with pytest.raises(DataError, match=message):
        setup(add_images.root)


def test_directory_without_images_beside_splits_is_reported(add_images, capsys):
    add_images("train/cat", "train/dog", "val/cat", "val/dog")
    add_images("annotations", name="{}.xml")

    assert count(setup(add_images.root)) == {"train": 20, "val": 20, "test": 20}
    assert f"data: ignored directories without images in {add_images.root}: annotations." in capsys.readouterr().err


def test_archive_to_extract_is_named(add_images):
    add_images.root.mkdir()
    (add_images.root / "photos.zip").write_bytes(b"PK")

    with pytest.raises(DataError, match=r"got 0 \(but a .zip file; extract it\)"):
        setup(add_images.root)


def test_accents_are_compared_by_their_meaning(add_images):
    add_images("train/caf\u00e9", "train/tea", "test/cafe\u0301", "test/tea")
    data = setup(add_images.root)

    assert data.class_names == ["caf\u00e9", "tea"]
    assert count(data)["test"] == 20


def test_class_missing_in_a_split_is_reported(add_images, capsys):
    add_images("train/cat", "train/dog", "val/cat", "val/dog", "test/dog")
    data = setup(add_images.root)

    assert count(data) == {"train": 20, "val": 20, "test": 10}
    assert capsys.readouterr().err == f"data: {add_images.root / 'test'} has no images of cat.\n"


def test_ignored_files_are_counted_in_one_line_in_training_and_prediction(add_images, capsys, without_heif):
    add_images(*CLASSES)
    add_images("cat", name="._{}.png", count=5)
    add_images("cat/.ipynb_checkpoints", "dog/sub/@eaDir", "dog/__MACOSX", "__MACOSX/cat", ".git")
    add_images("cat", name="IMG_{}.HEIC", count=9)
    add_images("dog", name="{}.CR2", count=2)
    (add_images.root / "cat" / "Thumbs.db").touch()
    (add_images.root / "cat" / "link.jpg").symlink_to("nowhere.jpg")
    (add_images.root / "readme.txt").touch()
    data = setup(add_images.root)
    line = capsys.readouterr().err

    assert count(data) == {"train": 16, "val": 2, "test": 2}
    assert line.startswith(
        f"data: ignored files in {add_images.root}: 9 .heic, 6 hidden, 3 hidden or system directory, "
        "3 outside of class directories, 2 .cr2, 1 broken link. Reading HEIC requires pillow-heif. Install it with"
    )
    assert line.count("\n") == 1
    assert len(data.set_predict_inputs(str(add_images.root / "cat"))) == 10
    assert "ignored files in" in (line := capsys.readouterr().err)
    assert "9 .heic, 6 hidden, 1 broken link, 1 hidden or system directory." in line


def test_image_formats_of_pillow_are_listed(tmp_path):
    names = ["a.JPG", "b.jpeg", "c.jfif", "d.tiff", "e.webp", "f.avif", "g.jp2", "h.pgm"]
    for name in [*names, "i.txt", "j.svg", "k"]:
        (tmp_path / name).touch()
    listing = list_images(tmp_path)

    assert [path.name for path in listing.paths] == names
    assert listing.ignored == {".txt": 1, ".svg": 1, "without suffix": 1}


def test_links_to_directories_are_followed_once(add_images):
    add_images("cat", "elsewhere")
    (add_images.root / "cat" / "more").symlink_to(add_images.root / "elsewhere")
    (add_images.root / "cat" / "loop").symlink_to(add_images.root / "cat")

    assert len(list_images(add_images.root / "cat").paths) == 20


def test_directory_without_images_names_its_files(add_images):
    add_images("texts", count=3, name="{}.txt")
    data = ImageFolderDataModule(str(add_images.root))

    with pytest.raises(DataError, match=r"texts contains no images \(only 3 .txt\). Use an image or a"):
        data.set_predict_inputs(str(add_images.root / "texts"))


def test_heic_file_names_the_missing_package(tmp_path, without_heif):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic0000")
    data = ImageFolderDataModule(str(tmp_path), image_size=4)
    data.set_predict_inputs(str(tmp_path / "a.heic"))

    assert "(HEIC requires pillow-heif: Install it with " in data.get_read_error(str(tmp_path / "a.heic"))


def test_heic_is_read_with_pillow_heif(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    pillow_heif.register_heif_opener()
    Image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "a.HEIC", quality=100)
    data = ImageFolderDataModule(str(tmp_path), image_size=4)

    assert data.set_predict_inputs(str(tmp_path)) == [str(tmp_path / "a.HEIC")]
    pixels = data.datasets["predict"].__getitems__([0])["inputs"][0, :, 0, 0].tolist()
    assert abs(pixels[0] - 200) < 5
    assert max(pixels[1:]) < 5


def test_link_to_itself_is_ignored(tmp_path):
    (tmp_path / "b").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "b" / "1.png")
    (tmp_path / "b" / "loop").symlink_to("loop")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a").symlink_to("b")
    listing = list_images(tmp_path)

    assert listing.names == [str(tmp_path / "a" / "1.png")]  # the first path of a directory
    assert listing.ignored["without suffix"] == 2
