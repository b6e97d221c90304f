"""Files that hold many images: vendor OCT, NIfTI, videos; each becomes rows and, frame by frame, DICOM or pictures."""
