import h5py
import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.data.kspace.cfl import write_cfl
from medssm.data.kspace_writers import write_fastmri
from medssm.data.readers.kspace import kspace_files, open_kspace
from tests.support.kspace import (
    acquisition,
    calgary_file,
    centred,
    columns,
    crop,
    fastmri_file,
    multi_coil,
    phantom,
    raw_file,
    raw_header,
    rss,
)


def _volume_rss(volume):
    return rss(np.stack([volume.read(index) for index in range(volume.slices)]))


def test_fastmri_crop_and_padding_give_the_stored_reference(tmp_path):
    volume = open_kspace(fastmri_file(tmp_path / "file1000031.h5"))
    assert (volume.layout, volume.shape, volume.centred) == ("fastmri", (2, 4, 48, 40), True)
    assert (volume.patient, volume.recon_size, volume.mask) == ("patient0", (32, 32), None)
    assert volume.padding.any(axis=0).nonzero()[0].tolist() == [0, 1, 37, 38, 39]
    images = crop(_volume_rss(volume), volume.recon_size)
    np.testing.assert_allclose(images[1], volume.reference(1), rtol=1e-5)
    assert volume.spacing_mm == pytest.approx((0.7, 0.7, 5.0))


def test_samples_in_the_padding_are_never_handed_out(tmp_path):
    path = write_fastmri(tmp_path / "a.h5", multi_coil(), padding=(2, 3))
    kspace = open_kspace(path).read(0)
    assert not kspace[:, :, [0, 1, 37, 38, 39]].any()
    assert kspace[:, :, 2:37].all()


def test_a_single_coil_file_gains_the_axis_of_coils(tmp_path):
    path = write_fastmri(
        tmp_path / "a.h5", multi_coil(coils=1)[:, 0], reference=np.ones((2, 48, 40))
    )
    volume = open_kspace(path)
    assert volume.shape == (2, 1, 48, 40)
    assert volume.read(1).shape == (1, 48, 40)
    assert volume.header["reference"] == "reconstruction_esc"


def test_narrow_volumes_are_cropped_to_their_columns(tmp_path):
    kspace = multi_coil(size=(48, 28))
    volume = open_kspace(write_fastmri(tmp_path / "a.h5", kspace, recon_size=(32, 32)))
    assert volume.recon_size == (28, 28)


def test_a_stored_mask_gives_columns_and_their_centre(tmp_path):
    mask = columns(40)
    kspace = multi_coil() * mask
    volume = open_kspace(write_fastmri(tmp_path / "a.h5", kspace, mask=mask))
    assert (volume.mask == mask).all()
    # the centre of 8 columns and its neighbour that the spacing adds
    assert volume.acs.any(axis=0).nonzero()[0].tolist() == list(range(16, 25))
    assert volume.acceleration == pytest.approx(40 / mask.sum())


def test_holes_are_found_over_the_whole_volume(tmp_path):
    mask = columns(40)
    kspace = multi_coil(slices=3) * mask
    kspace[1, :, :, 0] = 0
    np.save(tmp_path / "a.npy", kspace)
    assert (open_kspace(tmp_path / "a.npy").mask == mask).all()


def test_empty_columns_at_the_edges_are_padding_not_undersampling(tmp_path):
    kspace = multi_coil()
    kspace[..., 35:] = 0
    np.save(tmp_path / "a.npy", kspace)
    volume = open_kspace(tmp_path / "a.npy")
    assert volume.mask is None
    assert volume.padding.any(axis=0).nonzero()[0].tolist() == [35, 36, 37, 38, 39]


def test_calgary_campinas_pairs_become_coils_and_the_plain_transform_shows_the_head(tmp_path):
    volume = open_kspace(calgary_file(tmp_path / "e14089s3_P53248.7.h5"))
    assert (volume.layout, volume.shape, volume.centred) == (
        "calgary_campinas", (2, 12, 218, 170), False,
    )  # fmt: skip
    assert (volume.patient, volume.mask) == ("e14089", None)
    assert volume.padding.any(axis=0).nonzero()[0][0] == 145
    image = np.sqrt((np.abs(np.fft.ifft2(volume.read(0), norm="ortho")) ** 2).sum(axis=0))
    truth = np.abs(phantom((218, 170), 0))
    assert np.corrcoef(image.ravel(), truth.ravel())[0, 1] > 0.97


def test_masked_calgary_campinas_files_tell_their_mask(tmp_path):
    path = calgary_file(tmp_path / "e1s1_P1.7.h5", coils=2)
    rng = np.random.default_rng(0)
    mask = rng.random((218, 170)) < 0.2
    rows, cols = np.indices(mask.shape)
    disc = np.hypot(rows - 109, cols - 85) <= 18
    mask |= disc
    mask[:, 145:] = False
    with h5py.File(path, "r+") as file:
        file["kspace"][...] = file["kspace"][...] * mask[None, ..., None]
    volume = open_kspace(path)
    assert (volume.mask == mask).all()
    assert disc.sum() <= volume.acs.sum() < 1.2 * disc.sum()


def test_bart_pairs_are_read_in_their_order(tmp_path):
    kspace = multi_coil(slices=3)
    values = np.zeros((1, 48, 40, 4, *(1,) * 9, 3), np.complex64)
    values[0, ..., 0, 0, 0, 0, 0, 0, 0, 0, 0, :] = np.moveaxis(kspace, (0, 1), (3, 2))
    write_cfl(tmp_path / "brain.cfl", values)
    volume = open_kspace(tmp_path / "brain.cfl")
    assert volume.shape == (3, 4, 48, 40)
    np.testing.assert_array_equal(volume.read(2), kspace[2])


def test_a_bart_slab_is_cut_along_its_read_out(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(10, 12, 14, 2)) + 0j
    axes = (0, 1, 2)
    shifted = np.fft.ifftshift(images, axes=axes)
    kspace = np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)
    write_cfl(tmp_path / "slab.cfl", kspace)
    volume = open_kspace(tmp_path / "slab.cfl")
    assert volume.shape == (10, 2, 12, 14)
    plane = centred(volume.read(3), np.fft.ifft2)
    np.testing.assert_allclose(np.moveaxis(plane, 0, -1), images[3], atol=1e-5)


def _raw_two_dimensional(path, kspace):
    """Read-out oversampled twice; noise, a repeated line and slices out of order."""
    slices, coils, rows, width = kspace.shape
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, 2), axis=2, norm="ortho"), 2)
    wide = np.zeros((slices, coils, 2 * rows, width), complex)
    wide[:, :, rows // 2 : rows // 2 + rows] = image
    wide = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(wide, 2), axis=2, norm="ortho"), 2)
    made = [acquisition(np.ones((coils, 2 * rows)), 0, flags=(19,))]
    for index in reversed(range(slices)):
        made += [acquisition(wide[index, :, :, at], at, slice=index) for at in range(width)]
    made.append(acquisition(wide[0, :, :, 3] * 3, 3, slice=0, average=1))
    header = raw_header((2 * rows, width, 1), (rows, width, 1), coils)
    return raw_file(path, header, made)


def test_raw_slices_are_sorted_averaged_and_rid_of_noise_and_oversampling(tmp_path):
    kspace = multi_coil(slices=2, coils=3, size=(20, 16))
    volume = open_kspace(_raw_two_dimensional(tmp_path / "raw.h5", kspace))
    assert (volume.layout, volume.shape, volume.patient) == ("ismrmrd", (2, 3, 20, 16), "P7")
    np.testing.assert_allclose(volume.read(1), kspace[1], atol=1e-5)
    np.testing.assert_allclose(volume.read(0)[:, :, 3], 2 * kspace[0, :, :, 3], atol=1e-5)
    assert any("noise" in note for note in volume.notes)
    # 2 mm pixels, slices 5 mm apart, rows along x and columns along y, RAS
    np.testing.assert_allclose(np.diag(volume.affine)[:3], (-2, -2, 5))
    np.testing.assert_allclose(volume.affine[:3, 3], (20, 16, 0))


def test_a_raw_slab_is_cut_along_its_read_out(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 12, 10, 9)) + 1j * rng.normal(size=(2, 12, 10, 9))
    axes = (1, 2, 3)
    shifted = np.fft.ifftshift(images, axes=axes)
    kspace = np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)
    made = [
        acquisition(kspace[:, :, line, part], line, partition=part)
        for part in range(9)
        for line in range(10)
    ]
    header = raw_header((12, 10, 9), (12, 10, 9), 2)
    volume = open_kspace(raw_file(tmp_path / "slab.h5", header, made))
    assert volume.shape == (12, 2, 9, 10)
    plane = centred(volume.read(5), np.fft.ifft2)
    np.testing.assert_allclose(plane, images[:, 5].transpose(0, 2, 1), atol=1e-5)


def test_separate_calibration_lines_fill_the_centre(tmp_path):
    kspace = multi_coil(slices=1, coils=2, size=(16, 16))[0]
    made = [acquisition(kspace[:, :, line], line) for line in range(0, 16, 2)]
    made += [acquisition(kspace[:, :, line], line, flags=(20,)) for line in range(5, 12)]
    path = raw_file(tmp_path / "a.h5", raw_header((16, 16, 1), (16, 16, 1), 2), made)
    volume = open_kspace(path)
    assert volume.acs.any(axis=0).nonzero()[0].tolist() == list(range(4, 13))
    np.testing.assert_allclose(volume.read(0)[:, :, 7], kspace[:, :, 7], atol=1e-6)


def test_odd_sizes_keep_every_sample(tmp_path):
    kspace = multi_coil(size=(33, 27))
    np.save(tmp_path / "odd.npy", kspace)
    volume = open_kspace(tmp_path / "odd.npy")
    np.testing.assert_array_equal(volume.read(1), kspace[1])


def test_a_side_car_gives_an_array_its_geometry(tmp_path):
    np.save(tmp_path / "a.npy", multi_coil()[0])
    (tmp_path / "a.json").write_text('{"spacing_mm": [1, 2, 3], "patient": "p", "centred": false}')
    volume = open_kspace(tmp_path / "a.npy")
    assert (volume.spacing_mm, volume.patient, volume.centred) == ((1, 2, 3), "p", False)
    (tmp_path / "b.json").write_text('{"spacing": [1, 2, 3]}')
    np.save(tmp_path / "b.npy", multi_coil()[0])
    with pytest.raises(BadDataError, match=r"b.json: unknown key 'spacing'; did you mean"):
        open_kspace(tmp_path / "b.npy")


def test_a_header_without_its_size_is_refused_unless_there_is_a_reference(tmp_path):
    path = fastmri_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        text = file["ismrmrd_header"][()].decode().replace("reconSpace", "otherSpace")
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text.encode()
    volume = open_kspace(path)
    assert volume.recon_size == (32, 32)
    assert "no reconSpace" in volume.notes[0]
    with h5py.File(path, "r+") as file:
        del file["reconstruction_rss"]
        file.attrs["again"] = 1.0
    with pytest.raises(BadDataError, match=r"a.h5: its ISMRMRD header lacks .*reconSpace"):
        open_kspace(path)


def test_without_limits_the_padding_comes_from_zeros(tmp_path):
    path = fastmri_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        text = file["ismrmrd_header"][()].decode().replace("encodingLimits", "limits")
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text.encode()
    volume = open_kspace(path)
    assert volume.mask is None
    assert volume.padding.any(axis=0).nonzero()[0].tolist() == [0, 1, 37, 38, 39]
    assert "no encodingLimits" in volume.notes[0]


def test_a_file_without_header_is_read_whole(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = multi_coil()
    volume = open_kspace(tmp_path / "a.h5")
    assert (volume.recon_size, volume.spacing_mm) == (None, None)
    assert "no ismrmrd_header" in volume.notes[0]


def test_folders_give_their_files_without_unfinished_ones(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.h5", "a.npy", "sub/c.cfl", ".medssm-partial-0123abcd-d.h5", "readme.txt"):
        (tmp_path / name).write_bytes(b"")
    names = [path.relative_to(tmp_path).as_posix() for path in kspace_files(tmp_path)]
    assert names == ["a.npy", "b.h5", "sub/c.cfl"]
    with pytest.raises(BadDataError, match="no k-space file"):
        kspace_files(tmp_path / "readme.txt")
