"""k-space files of scanners and public data sets: one volume, read slice by slice."""
