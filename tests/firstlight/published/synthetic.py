"""Write the data of a published package: `python synthetic.py <package> <directory>`, seeded and within seconds."""

import csv
import gzip
import struct
import sys
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)


def write_csv(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def chemprop(root):
    chains = ["C" * carbons + end for carbons in range(1, 13) for end in ("O", "N", "F", "C(=O)O", "c1ccccc1")]
    write_csv(root / "molecules.csv", ["smiles", "y"], [(smiles, len(smiles)) for smiles in RNG.permutation(chains)])


def torchgeo(root):
    import rasterio
    from rasterio.transform import from_origin

    def write(path, array):
        path.parent.mkdir(parents=True, exist_ok=True)
        place = {"crs": "EPSG:32616", "transform": from_origin(500000, 4500000, 10, 10)}
        with rasterio.open(path, "w", "GTiff", *array.shape, 1, dtype=array.dtype, **place) as file:
            file.write(array, 1)

    for band in ("B02", "B03", "B04"):
        values = RNG.integers(0, 255, (256, 256), dtype=np.uint16)
        write(root / "sentinel2" / "R10m" / f"T16TDL_20230801T000000_{band}_10m.tif", values)
    write(root / "cdl" / "2023_30m_cdls.tif", RNG.choice(np.array([0, 1, 5], dtype=np.uint8), (256, 256)))


def anomalib(root):
    from PIL import Image

    for kind, count in (("good", 30), ("bad", 10)):
        (root / "parts" / kind).mkdir(parents=True)
        for index in range(count):
            image = RNG.integers(0, 40, (48, 48, 3), dtype=np.uint8)
            image[:16] += 200 * (kind == "bad")
            Image.fromarray(image).save(root / "parts" / kind / f"{index:02}.png")


def torch_uncertainty(root):
    for name in ("MNIST", "FashionMNIST"):
        raw = root / "mnist" / name / "raw"
        raw.mkdir(parents=True)
        for split, count in (("train", 60), ("t10k", 24)):
            labels = np.arange(count, dtype=np.uint8) % 10
            images = RNG.integers(0, 255, (count, 28, 28), dtype=np.uint8)
            for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
                header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
                (raw / f"{split}-{kind}").write_bytes(header + array.tobytes())
                (raw / f"{split}-{kind}.gz").write_bytes(gzip.compress(header + array.tobytes()))


def rl4co(root):
    pass


def pytorch_forecasting(root):
    rows = [(shop, day, RNG.random(), 10 + np.sin(day) + RNG.random()) for shop in ("a", "b", "c") for day in range(40)]
    write_csv(root / "sales.csv", ["shop", "day", "price", "sales"], rows)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
