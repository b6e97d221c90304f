#!/bin/sh
# Orthanc with DICOMweb (a PACS), dcmtk (a second DICOM implementation), dicom3tools (a validator), all from Debian.
# For tests only: Debian 12 ships Orthanc 1.10.1, which has known holes; production wants 1.12.11 or later.
set -eu
if command -v Orthanc >/dev/null && command -v storescu >/dev/null && command -v dciodvfy >/dev/null; then exit 0; fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "no Orthanc, and no apt as root: tests with a PACS will be skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update || true
apt-get -qq install -y --no-install-recommends orthanc orthanc-dicomweb dcmtk dicom3tools >/dev/null ||
    echo "apt could not install Orthanc: tests with a PACS will be skipped" >&2
