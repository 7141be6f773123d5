"""Why a file or a volume of an archive is left out, and what is odd about one that is kept."""

from enum import StrEnum


class Reason(StrEnum):
    """One code a cause; a ledger holds nothing else as its reason."""

    # files
    NOT_AN_IMAGE = "not-an-image"
    EMPTY_FILE = "empty-file"
    UNREADABLE = "unreadable"
    DICOMDIR = "dicomdir"
    SYSTEM_FILE = "system-file"
    ARCHIVE_UNSAFE = "archive-unsafe"
    PART_OF_ANOTHER = "part-of-another-file"
    # DICOM objects
    LOCALIZER = "localizer"
    SECONDARY_CAPTURE = "secondary-capture"
    NO_PIXELS_OBJECT = "report-or-state"
    DERIVED_NO_ORIENTATION = "derived-without-orientation"
    WRONG_MODALITY = "wrong-modality"
    NO_GEOMETRY = "no-geometry"
    COLOUR = "colour"
    UNSAFE_UID = "uid-of-forbidden-signs"
    NOT_CHOSEN = "not-one-of-the-channels"
    CHANNELS_MISSING = "channels-incomplete"
    IDENTITY_IN_PIXELS = "identity-in-pixels"
    LOSSY = "lossy"
    DUPLICATE_INSTANCE = "duplicate-instance"
    SOP_CONFLICT = "same-uid-other-pixels"
    UNEVEN_REPEATS = "uneven-repeats"
    INCONSISTENT_POSITIONS = "inconsistent-positions"
    TOO_FEW_SLICES = "too-few-slices"
    PIECE_TOO_SHORT = "piece-too-short"
    TILTED = "tilted"
    # volumes
    NOT_A_VOLUME = "not-a-volume"
    UNDECODABLE = "undecodable"
    NOT_HU = "not-hu"
    LABEL_MAP = "label-map"
    CONSTANT = "constant"
    NOT_FINITE = "not-finite"
    LOW_QUALITY = "low-quality"
    DUPLICATE_VOLUME = "duplicate-volume"
    BLOCKED_TEST_CASE = "blocked-test-case"
    WORKER_DIED = "worker-died"
    TIME_LIMIT = "time-limit"
    FAILED = "failed"


class Flag(StrEnum):
    """An oddity that was dealt with; the volume is kept."""

    GANTRY_TILT = "gantry-tilt-sheared-back"
    MISSING_SLICES = "missing-slices-interpolated"
    SPLIT_AT_GAP = "split-at-gap"
    SPLIT_BY_REPEAT = "split-by-repeated-positions"
    THICKNESS_DIFFERS = "slice-thickness-is-not-the-spacing"
    RESCALE_VARIES = "rescale-varies-by-slice"
    PADDING = "padding-to-air"
    SIGN_REPAIRED = "signed-stored-as-unsigned"
    LOSSY = "lossy-compression"
    CLIPPED = "clipped-to-range"
    QFORM_SFORM = "qform-and-sform-differ"
    SPACING_UNSET = "spacing-may-be-unset"
    NEAR_DUPLICATE = "near-duplicate"
