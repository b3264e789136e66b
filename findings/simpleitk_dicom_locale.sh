#!/usr/bin/env bash
# SimpleITK leaves a process with the locale of C once it has written DICOM with a position.
#
# Input:    one CT slice with the tag 0020,0032 (Image Position Patient), written as SimpleITK's own
#           example of writing a series does, in a process whose locale is UTF-8.
# Expected: SimpleITK 2.5.7 leaves the process's locale as it was.
# Seen:     the locale is that of C afterwards: Python opens text files and reads the output of other
#           programs as ASCII from then on, and fails at the first other character, in code that has
#           nothing to do with DICOM. Without the tag, the locale stays.
# Way out:  note locale.setlocale(locale.LC_ALL) before, and set it again afterwards.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7
cd "$folder"
LC_ALL=C.UTF-8 "$folder/venv/bin/python" - <<'PYTHON'
import locale
import sys

import SimpleITK as sitk


def encoding_after(tags):
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    image = sitk.Image(6, 5, 1, sitk.sitkInt16)
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    sitk.WriteImage(image, "slice.dcm")
    return locale.nl_langinfo(locale.CODESET)


without = encoding_after({"0008|0060": "CT"})
with_position = encoding_after({"0008|0060": "CT", "0020|0032": "-100\\-90\\30"})
print(f"SimpleITK {sitk.Version.VersionString()}")
print(f"texts are read as {without} after a slice without position, expected UTF-8")
print(f"texts are read as {with_position} after a slice with its position, expected UTF-8")
sys.exit(with_position == "UTF-8" or without != "UTF-8")
PYTHON
