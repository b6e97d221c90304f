"""DICOM files that nobody vouches for: header, side, colour, frames and reports, each read with care."""
