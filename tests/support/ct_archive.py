"""An archive of scans with every trap that archives hold, and what is to become of each file."""

import gzip
import os
import shutil
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.support import dicom_files as dicom

SHAPE = (28, 26, 22)
# first pixel of the first slice of every axial series, LPS mm
ORIGIN = np.array([-50.0, -60.0, 10.0])
SPACING = np.array([4.0, 4.0, 3.0])


def at(x, y, z):
    """A place so far from the first pixel, LPS mm."""
    return ORIGIN + np.array([x, y, z], dtype=float)


@dataclass
class Expected:
    """What is to come out of the archive.

    Args:
        volumes: Name to (one of its files, HU in RAS or None, RAS affine or None).
        flags: Name to flags that it must have.
        left_out: File to the reason of its row.
        refused: Name of a volume to (one of its files, reason).
        patients: Name of a volume to its patient, where two must agree.
    """

    volumes: dict = field(default_factory=dict)
    flags: dict = field(default_factory=dict)
    left_out: dict = field(default_factory=dict)
    refused: dict = field(default_factory=dict)


def phantom(seed, shape=SHAPE):
    """A body in air, HU from a seed: no two are alike, in no mirror image either."""
    rng = np.random.default_rng(seed)
    x, y, z = (np.linspace(-1, 1, size) for size in shape)
    grid = np.meshgrid(x, y, z, indexing="ij")
    centre, radii = rng.uniform(-0.15, 0.15, 3), rng.uniform(0.55, 0.95, 3)
    hu = np.full(shape, -1000.0)
    body = sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, centre, radii, strict=True)) < 1
    hu[body] = rng.uniform(0, 80)
    for value in (-800.0, 700.0, 150.0):
        middle, radius = rng.uniform(-0.5, 0.5, 3), rng.uniform(0.15, 0.35, 3)
        organ = sum(((a - m) / r) ** 2 for a, m, r in zip(grid, middle, radius, strict=True)) < 1
        hu[organ & body] = value
    return np.maximum(np.rint(hu + rng.normal(0, 8, shape)), -1023).astype(np.int16)


def axial_affine(origin=ORIGIN, spacing=SPACING):
    """Of the phantom as axial DICOM, in RAS of the canonical array."""
    affine = np.diag([*(-spacing[:2]), spacing[2], 1.0])
    affine[:3, 3] = [-origin[0], -origin[1], origin[2]]
    return affine


def canonical(voxels, affine):
    """Flip the axes of an axial DICOM array to RAS."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels.astype(np.float32), affine))
    return np.asarray(image.dataobj).astype(np.int16), image.affine


class Builder:
    """Writes the archive piece by piece and notes what is expected."""

    def __init__(self, root):
        self.root = Path(root)
        self.expected = Expected()
        self.count = 0

    def file(self, dataset, name):
        return dicom.save(dataset, self.root / name)

    def series(self, name, hu, *, tags=None, change=None, positions=None, kind=None):
        """An axial series of a phantom, files in no order; returns its file names."""
        stored = dicom.as_stored(hu)
        names = []
        for index, pixels in enumerate(stored):
            position = at(0, 0, 3.0 * index) if positions is None else positions[index]
            own = dict(tags(index) if tags else {})
            # numbers run against the order of the slices
            number = own.pop("number", 500 - index)
            series = own.pop("series", name)
            slope, intercept = own.get("RescaleSlope", 1), own.get("RescaleIntercept", -1024)
            values = np.rint((pixels - 1024 - intercept) / slope)
            dataset = dicom.plane(
                values, series, number, position, patient=own.pop("patient", name), **own
            )
            if change:
                dataset = change(index, dataset) or dataset
            names.append(f"{name}/{(index * 7) % 97:02d}-{index}{kind or ''}")
            self.file(dataset, names[-1])
        return names

    def volume(self, name, first, hu, affine=None, flags=()):
        voxels, place = canonical(hu, axial_affine() if affine is None else affine)
        self.expected.volumes[name] = (first, voxels, place)
        self.expected.flags[name] = set(flags)

    def out(self, reason, *names):
        for name in names:
            self.expected.left_out[name] = reason


def make_archive(root, blocked):
    """Write the archive; returns what is expected of it.

    Args:
        root: Its folder.
        blocked: A folder for a downstream test case that is also in the archive.
    """
    build = Builder(root)
    for part in (
        _plain, _objects, _stacks, _positions, _values, _frames, _packed, _images, _itk, _zips,
        _strays,
    ):  # fmt: skip
        part(build)
    _blocked(build, Path(blocked))
    return build.expected


def _plain(build):
    hu = phantom(1)
    names = build.series("plain", hu)
    build.volume("plain", names[0], hu)
    # no preamble; and directions that waver about a border of rounding
    bare = phantom(90)[:, :, 4:18]
    bares = build.series("bare-dicom", bare)
    for name in bares:
        content = (build.root / name).read_bytes()
        # group 2 says its own length behind the twelve bytes of its first element
        start = 144 + int.from_bytes(content[140:144], "little")
        (build.root / name).write_bytes(content[start:])
    build.volume("bare dicom", bares[0], bare)
    waver = phantom(91)[:, :, :8]
    wavers = build.series(
        "waver", waver,
        tags=lambda i: {"ImageOrientationPatient": [1, 0.005 + 1e-7 * (-1) ** i, 0, 0, 1, 0]},
        positions=[at(0, 0, 3 * i) for i in range(8)],
    )  # fmt: skip
    affine = axial_affine()
    affine[1, 0] = -0.005 * 4
    build.volume("waver", wavers[0], waver, affine)
    # the same bytes once more, the same pixels under another name, the same name with others
    shutil.copy(build.root / names[3], build.root / "plain/zz-copy")
    build.out("duplicate-instance", "plain/zz-copy")
    again = dicom.plane(dicom.as_stored(hu)[5], "plain", 900, at(0, 0, 15.0), patient="plain")
    build.file(again, "plain/zz-other-uid")
    build.out("duplicate-instance", "plain/zz-other-uid")
    for turn in range(2):
        fight = dicom.plane(np.full((26, 28), 1000 + turn), "fight", 1, ORIGIN)
        build.file(fight, f"fight/{turn}")
        build.out("same-uid-other-pixels", f"fight/{turn}")


def _objects(build):
    stored = dicom.as_stored(phantom(2))[11]

    def put(name, reason, **tags):
        build.file(dicom.plane(stored, tags.pop("series", name), 77, ORIGIN, **tags), f"odd/{name}")
        build.out(reason, f"odd/{name}")

    put("localizer", "localizer", series="plain", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    put("capture", "secondary-capture", sop_class=dicom.SECONDARY_CAPTURE)
    put("flat", "derived-without-orientation", ImageType=["DERIVED", "SECONDARY"],
        ImageOrientationPatient=None)  # fmt: skip
    put("nowhere", "no-geometry", ImagePositionPatient=None)
    put("mr", "wrong-modality", sop_class=dicom.MR, modality="MR")
    put("us", "identity-in-pixels", sop_class=dicom.ULTRASOUND, modality="US",
        BurnedInAnnotation="YES")  # fmt: skip
    for name, sop_class in (("report", dicom.REPORT), ("state", dicom.STATE), ("pdf", dicom.PDF)):
        build.file(dicom.base(name, 1, sop_class=sop_class, modality="SR"), f"odd/{name}")
        build.out("report-or-state", f"odd/{name}")
    colour = dicom.plane(stored, "colour", 1, ORIGIN)
    colour.SamplesPerPixel, colour.PhotometricInterpretation = 3, "RGB"
    colour.PlanarConfiguration = 0
    colour.BitsAllocated = colour.BitsStored = 8
    colour.HighBit = 7
    colour.PixelData = bytes(3 * stored.size)
    build.file(colour, "odd/colour")
    build.out("colour", "odd/colour")
    for index in range(3):
        few = dicom.plane(stored + index, "few", index, at(0, 0, 3.0 * index))
        build.file(few, f"few/{index}")
        build.out("too-few-slices", f"few/{index}")
    study = [
        dicom.plane(stored + i, "mrstudy", i, at(0, 0, 3.0 * i), sop_class=dicom.MR,
                    modality="MR")
        for i in range(8)
    ]  # fmt: skip
    for index, each in enumerate(study):
        build.file(each, f"mrstudy/{index}.dcm")
        build.out("wrong-modality", f"mrstudy/{index}.dcm")


def _stacks(build):
    first, second = phantom(3), phantom(4)
    # two kernels under one series and one person
    soft = build.series("kernels-a", first, tags=lambda _: {"series": "kernels", "patient": "k"})
    hard = build.series(
        "kernels-b", second,
        tags=lambda i: {"series": "kernels", "patient": "k", "ConvolutionKernel": "B70f",
                        "number": 900 + i},
    )  # fmt: skip
    build.volume("soft kernel", soft[0], first)
    build.volume("hard kernel", hard[0], second)
    # two phases at the same positions, told apart by the number of the instance only
    early, late = phantom(5), phantom(6)
    one = build.series("phase-a", early, tags=lambda i: {"series": "phases", "patient": "p",
                                                         "number": i})  # fmt: skip
    two = build.series("phase-b", late, tags=lambda i: {"series": "phases", "patient": "p",
                                                        "number": 100 + i})  # fmt: skip
    build.volume("early phase", one[0], early, flags=["split-by-repeated-positions"])
    build.volume("late phase", two[0], late, flags=["split-by-repeated-positions"])
    # a position that is there twice, and others once
    rough = phantom(7)[:, :, :8]
    names = build.series("uneven", rough)
    extra = dicom.plane(dicom.as_stored(rough)[2] + 5, "uneven", 1, at(0, 0, 6.0),
                        patient="uneven")  # fmt: skip
    build.file(extra, "uneven/extra")
    build.out("uneven-repeats", *names, "uneven/extra")


def _positions(build):
    # one slice is missing
    hu = phantom(8)
    names = build.series("hole", hu)
    (build.root / names[9]).unlink()
    filled = hu.astype(np.float32)
    filled[:, :, 9] = (filled[:, :, 8] + filled[:, :, 10]) / 2
    build.volume("hole", names[0], np.rint(filled), flags=["missing-slices-interpolated"])
    # a large gap: what is below it is long enough, what is above is not
    long = phantom(9, (28, 26, 28))
    cut = build.series(
        "gap", long, positions=[at(0, 0, 3.0 * i + (40 if i > 22 else 0)) for i in range(28)]
    )
    build.volume("gap", cut[0], long[:, :, :23], flags=["split-at-gap"])
    build.out("piece-too-short", *cut[23:])
    # a tilted gantry, each slice a whole pixel further along the columns
    straight = phantom(10)
    tilted = build.series(
        "tilt", straight, positions=[at(0, 4.0 * i, 3.0 * i) for i in range(SHAPE[2])]
    )
    wide = np.full((SHAPE[0], SHAPE[1] + SHAPE[2] - 1, SHAPE[2]), -1024)
    for index in range(SHAPE[2]):
        wide[:, index : index + SHAPE[1], index] = straight[:, :, index]
    build.volume("tilt", tilted[0], wide, flags=["gantry-tilt-sheared-back"])
    # slices off their line
    crooked = phantom(11)[:, :, :10]
    names = build.series(
        "crooked", crooked,
        positions=[at(5.0 * (i % 3 == 1), 0, 3.0 * i) for i in range(10)],
    )  # fmt: skip
    build.out("inconsistent-positions", *names)
    _directions(build)


def _directions(build):
    """A sagittal and an oblique series."""
    for name, seed, row, column in (
        ("sagittal", 12, np.array([0.0, 1, 0]), np.array([0.0, 0, -1])),
        ("oblique", 13, np.array([np.cos(0.3), np.sin(0.3), 0]), np.array([0.0, 0, -1])),
    ):
        hu = phantom(seed)
        normal = np.cross(row, column)
        names = build.series(
            name, hu, positions=[ORIGIN + 3.0 * i * normal for i in range(SHAPE[2])],
            tags=lambda _, r=row, c=column: {"ImageOrientationPatient": [*r, *c]},
        )  # fmt: skip
        lps = np.eye(4)
        lps[:3, 0], lps[:3, 1], lps[:3, 2], lps[:3, 3] = row * 4, column * 4, normal * 3, ORIGIN
        build.volume(name, names[0], hu, np.diag([-1.0, -1, 1, 1]) @ lps)


def _values(build):
    hu = phantom(14)
    names = build.series(
        "rescale", 2 * (hu // 2),
        tags=lambda i: {"RescaleSlope": 1 + i % 2, "RescaleIntercept": -1024 - 2 * (i % 3)},
    )  # fmt: skip
    build.volume("rescale", names[0], 2 * (hu // 2), flags=["rescale-varies-by-slice"])
    # corners that stand for nothing: said so, and -2000 as scanners leave them
    corner = phantom(15)
    padded, said = corner.copy(), corner.copy()
    padded[:3, :3], said[:3, :3] = -1024, -2000

    def declare(_, dataset):
        # intercept 0, signed: the corner holds -2000
        dataset.PixelPaddingValue = -2000

    for name, change in (("padding", declare), ("corners", None)):
        moved = np.roll(said, 1 if change else 0, axis=2)
        names = build.series(
            name, moved, change=change, tags=lambda _: {"RescaleIntercept": 0, "signed": True}
        )
        flags = ["padding-to-air" if change else "clipped-to-range"]
        build.volume(name, names[0], np.roll(padded, 1 if change else 0, axis=2), flags=flags)
    # the same corner stored unsigned without an intercept: 63536
    wrapped = phantom(16)
    shown = wrapped.copy()
    wrapped[:3, :3], shown[:3, :3] = -2000, -1024

    def wrap(index, dataset):
        planes = dicom.as_stored(wrapped, 0)[index]
        dicom.pixels(dataset, planes & 0xFFFF)
        dataset.RescaleIntercept = 0

    names = build.series("wrapped", wrapped, change=wrap)
    build.volume("wrapped", names[0], shown, flags=["signed-stored-as-unsigned"])
    # twelve bits, and an overlay in the four above
    twelve = phantom(17)

    def overlay(index, dataset):
        dicom.pixels(dataset, dicom.as_stored(twelve)[index] | 0x8000, bits=12)

    names = build.series("overlay", twelve, change=overlay)
    build.volume("overlay", names[0], twelve)
    # no HU at all
    names = build.series("not-hu", np.abs(phantom(18)[:, :, :6]), tags=lambda _: {})
    build.expected.refused["not hu"] = (names[0], "not-hu")
    # poor: metal everywhere, thick slices, jumps
    metal = np.random.default_rng(19).random((16, 16, 6)) < 0.7
    poor = np.where(phantom(19, (16, 16, 6)) > -500, np.where(metal, 3071, 40), -1000)
    poor[:, :, 3] = -1000
    names = build.series("poor", poor, positions=[at(0, 0, 9.0 * i) for i in range(6)])
    build.expected.refused["poor"] = (names[0], "low-quality")


def _frames(build):
    """Enhanced CT: a rescale a frame, frames in no order; and two stacks in one file."""
    hu = phantom(20)
    order = np.random.default_rng(0).permutation(SHAPE[2])
    stored, frames = [], []
    for z in order:
        intercept = -1024 - 10 * (int(z) % 4)
        stored.append(dicom.as_stored(hu, intercept)[z])
        frames.append({"position": at(0, 0, 3.0 * z), "intercept": intercept,
                       "index": [1, int(z) + 1]})  # fmt: skip
    build.file(dicom.enhanced(np.stack(stored), "enhanced", frames, patient="e"), "enhanced/one")
    build.volume("enhanced", "enhanced/one", hu, flags=["rescale-varies-by-slice"])
    both = [phantom(21), phantom(22)]
    stored, frames = [], []
    for z in range(SHAPE[2]):
        for time, each in enumerate(both):
            stored.append(dicom.as_stored(each)[z])
            frames.append({"position": at(0, 0, 3.0 * z), "index": [1, z + 1, time + 1]})
    build.file(dicom.enhanced(np.stack(stored), "times", frames, patient="t"), "enhanced/times")
    build.volume("time 1", "enhanced/times", both[0])
    build.volume("time 2", "enhanced/times", both[1])


def _packed(build):
    for seed, (name, syntax) in enumerate(
        {"j2k": JPEG2000Lossless, "jls": JPEGLSLossless, "rle": RLELossless,
         "ljpeg": JPEGLosslessSV1}.items()
    ):  # fmt: skip
        hu = phantom(30 + seed, (40, 36, 16))
        names = build.series(name, hu, change=lambda _, d, s=syntax: dicom.compress(d, s))
        build.volume(name, names[0], hu)
    broken = phantom(40, (40, 36, 5))
    names = build.series("broken", broken, change=lambda _, d: dicom.compress(d, JPEG2000Lossless))
    path = build.root / names[2]
    content = bytearray(path.read_bytes())
    content[-260:] = bytes(260)
    path.write_bytes(bytes(content))
    build.expected.refused["broken stream"] = (names[0], "undecodable")
    (build.root / "odd/cut-header").write_bytes((build.root / names[0]).read_bytes()[:200])
    build.out("unreadable", "odd/cut-header")


def nifti(path, hu, affine, dtype=np.int16, units="mm"):
    image = nibabel.Nifti1Image(np.asarray(hu).astype(dtype), affine)
    image.header.set_xyzt_units(units)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def _images(build):
    root = build.root / "nifti"
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 11, 12, 13

    def good(name, seed, place=affine, flags=(), shape=(26, 24, 20)):
        hu = phantom(seed, shape)
        nifti(root / f"{name}.nii.gz", hu, place)
        build.volume(name, f"nifti/{name}.nii.gz", hu, place, flags)
        return root / f"{name}.nii.gz", hu

    good("las", 50)
    path, hu = good("bare", 51)
    path.rename(root / "bare")
    build.expected.volumes["bare"] = ("nifti/bare", *build.expected.volumes["bare"][1:])
    # scl_slope NaN, which is none; one that is 2; qform and sform at odds; singleton time axis
    path, hu = good("scaled", 52)
    image = nibabel.Nifti1Image(((hu + 1024) // 2).astype(np.int16), affine)
    image.header.set_slope_inter(2, -1024)
    nibabel.save(image, path)
    build.volume("scaled", "nifti/scaled.nii.gz", (hu + 1024) // 2 * 2 - 1024, affine)
    path, hu = good("two forms", 53, flags=["qform-and-sform-differ"])
    image = nibabel.Nifti1Image(hu, affine)
    image.set_sform(affine, 2)
    image.set_qform(np.diag([2.0, 3.0, 4.0, 1.0]), 1)
    nibabel.save(image, path)
    path, hu = good("four axes", 54)
    nibabel.save(nibabel.Nifti1Image(hu[..., None], affine), path)
    shape = (26, 24, 20)
    bad = {
        "series.nii.gz": (np.zeros((8, 8, 8, 3)), "not-a-volume"),
        "plane.nii.gz": (np.zeros((8, 8, 1)), "not-a-volume"),
    }
    for name, (voxels, reason) in bad.items():
        nifti(root / name, voxels, affine)
        build.out(reason, f"nifti/{name}")
    colour = np.zeros((6, 6, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colour, affine), root / "colour.nii.gz")
    build.out("colour", "nifti/colour.nii.gz")
    head = bytearray(gzip.decompress((root / "las.nii.gz").read_bytes()))
    struct.pack_into("<4f", head, 76, 1.0, 0.0, 3.0, 4.0)
    struct.pack_into("<hh", head, 252, 0, 0)
    (root / "no-spacing.nii").write_bytes(bytes(head))
    build.out("no-geometry", "nifti/no-spacing.nii")
    smooth = phantom(55, shape)
    holes = smooth.astype(np.float32)
    holes[3, 4, 5] = np.nan
    refused = {
        "mr": (np.abs(smooth) // 3 + 5, np.int16, "not-hu"),
        "labels": (smooth > -500, np.uint8, "label-map"),
        "constant": (np.zeros(shape), np.int16, "constant"),
        "nan": (holes, np.float32, "not-finite"),
    }
    for name, (voxels, dtype, reason) in refused.items():
        nifti(root / f"{name}.nii.gz", voxels, affine, dtype)
        build.expected.refused[name] = (f"nifti/{name}.nii.gz", reason)
    cut = nifti(root / "cut.nii.gz", phantom(56, shape), affine)
    cut.write_bytes(cut.read_bytes()[:-2000])
    build.expected.refused["cut"] = ("nifti/cut.nii.gz", "undecodable")
    # the series "plain" as NIfTI, in another orientation; and the same bytes twice
    nifti(root / "plain-again.nii.gz", phantom(1), axial_affine())
    build.expected.refused["plain again"] = ("nifti/plain-again.nii.gz", "duplicate-volume")
    shutil.copy(root / "las.nii.gz", root / "las_zcopy.nii.gz")
    build.out("duplicate-volume", "nifti/las_zcopy.nii.gz")
    # the scan "las" with another noise, under another name
    near = phantom(50, shape).astype(np.float64)
    near = np.maximum(np.rint(near + np.random.default_rng(1).normal(0, 4, shape)), -1024)
    nifti(root / "las-other-kernel.nii.gz", near, affine)
    build.volume("near", "nifti/las-other-kernel.nii.gz", near, affine, ["near-duplicate"])


def _itk(build):
    root = build.root / "itk"
    root.mkdir()
    for seed, name in enumerate(("packed.mha", "plain.mhd", "cut.mhd", "packed.nrrd")):
        hu = phantom(60 + seed, (25, 23, 21))
        image = SimpleITK.GetImageFromArray(np.transpose(hu, (2, 1, 0)))
        image.SetSpacing((2.0, 3.0, 4.0))
        image.SetOrigin((1.0, 2.0, 3.0))
        SimpleITK.WriteImage(image, str(root / name), useCompression="packed" in name)
        lps = np.diag([2.0, 3.0, 4.0, 1.0])
        lps[:3, 3] = 1, 2, 3
        if name != "cut.mhd":
            build.volume(name, f"itk/{name}", hu, np.diag([-1.0, -1, 1, 1]) @ lps)
    raw = root / "cut.raw"
    raw.write_bytes(raw.read_bytes()[:-500])
    build.expected.refused["cut raw"] = ("itk/cut.mhd", "undecodable")
    build.out("part-of-another-file", "itk/plain.raw", "itk/cut.raw")
    # a detached NRRD header
    hu = phantom(66, (25, 23, 21))
    (root / "apart.raw").write_bytes(hu.transpose(2, 1, 0).astype("<i2").tobytes())
    (root / "apart.nhdr").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        "sizes: 25 23 21\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\n"
        "kinds: domain domain domain\nendian: little\nencoding: raw\ndata file: apart.raw\n\n"
    )
    build.volume("apart", "itk/apart.nhdr", hu, np.diag([-1.0, -1, 1, 1]) @ lps)
    build.out("part-of-another-file", "itk/apart.raw")


def _zips(build):
    hu = phantom(70)[:, :, :18]
    names = build.series("zipped", hu)
    with zipfile.ZipFile(build.root / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for index, name in enumerate(names):
            archive.write(build.root / name, f"deep/in/{index}")
        archive.writestr("deep/readme.txt", "nothing here")
        archive.writestr("deep/inner.zip", b"PK\x03\x04 and so on")
    shutil.rmtree(build.root / "zipped")
    build.volume("zipped", "series.zip::deep/in/0", hu)
    build.out("not-an-image", "series.zip::deep/readme.txt")
    build.out("archive-unsafe", "series.zip::deep/inner.zip")
    other = phantom(71, (26, 24, 20))
    inside = nifti(build.root / "inside.nii.gz", other, np.diag([2.0, 3.0, 4.0, 1.0]))
    with zipfile.ZipFile(build.root / "image.zip", "w") as archive:
        archive.write(inside, "ct.nii.gz")
    inside.unlink()
    build.volume("in a zip", "image.zip::ct.nii.gz", other, np.diag([2.0, 3.0, 4.0, 1.0]))
    with zipfile.ZipFile(build.root / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(3_000_000))
    (build.root / "half.zip").write_bytes((build.root / "series.zip").read_bytes()[:5000])
    build.out("archive-unsafe", "bomb.zip", "half.zip")


def _strays(build):
    strays = {
        "empty": (b"", "empty-file"), "readme.txt": (b"hello", "not-an-image"),
        "._plain": (b"\0\5\x16\7" * 50, "system-file"), "sub/.DS_Store": (b"Bud1", "system-file"),
        "picture.png": (b"\x89PNG\r\n\x1a\n" + bytes(300), "not-an-image"),
    }  # fmt: skip
    for name, (content, reason) in strays.items():
        path = build.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        build.out(reason, name)
    (build.root / "gone.dcm").symlink_to(build.root / "nowhere")
    build.out("unreadable", "gone.dcm")
    # a name that is no text, and a link that leads back up
    odd = os.fsdecode(b"caf\xe9.txt")
    (build.root / odd).write_bytes(b"coffee")
    build.out("not-an-image", odd)
    (build.root / "sub/up").symlink_to(build.root, target_is_directory=True)
    folder = dicom.base("dicomdir", 1, sop_class="1.2.840.10008.1.3.10")
    build.file(folder, "DICOMDIR")
    build.out("dicomdir", "DICOMDIR")


def _blocked(build, blocked):
    hu, affine = phantom(80, (26, 24, 20)), np.diag([2.0, -3.0, 4.0, 1.0])
    nifti(build.root / "nifti/test-case.nii.gz", hu, affine)
    build.expected.refused["test case"] = ("nifti/test-case.nii.gz", "blocked-test-case")
    # the test set has it flipped and under another name
    flipped, place = canonical(hu, affine)
    nifti(blocked / "case_0001.nii", flipped, place)
    nifti(blocked / "labels" / "case_0001.nii.gz", flipped > -500, place, np.uint8)
