"""DICOM: headers without pixels, one geometric stack a volume, stored values to HU."""
