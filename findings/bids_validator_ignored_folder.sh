#!/usr/bin/env bash
# The BIDS validator complains of a folder that .bidsignore names with a slash at its end.
#
# Input:    a BIDS derivative with one label map in anat/ and one scan in ct/, a folder that BIDS does
#           not know, and a .bidsignore with the line "ct/".
# Expected: bids-validator-deno 3.0.2 leaves the folder out, as git does with such a line, and as it
#           does itself with the line "ct".
# Seen:     the error NOT_INCLUDED for the folder itself, though no longer for the file in it.
# Way out:  write the folder's name without the slash.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet bids-validator-deno==3.0.2 deno==2.9.8
mkdir -p "$folder/data/sub-1/anat" "$folder/data/sub-1/ct"
cd "$folder/data"
echo '{"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "x"}]}' \
  > dataset_description.json
"$folder/venv/bin/python" - <<'PYTHON'
import gzip
import struct

header = bytearray(352)  # of an empty NIfTI-1 volume of 2 x 2 x 2 bytes
struct.pack_into("<i", header, 0, 348)
struct.pack_into("<8h", header, 40, 3, 2, 2, 2, 1, 1, 1, 1)
struct.pack_into("<2h", header, 70, 2, 8)
struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
struct.pack_into("<f", header, 108, 352)
header[123] = 10
header[344:348] = b"n+1\0"
for name in ("anat/sub-1_dseg", "ct/sub-1_ct"):
    with gzip.open(f"sub-1/{name}.nii.gz", "wb") as file:
        file.write(bytes(header) + bytes(8))
PYTHON
outside() {
  echo "$1" > .bidsignore
  "$folder/venv/bin/bids-validator-deno" --json . > "$folder/found.json" || true
  "$folder/venv/bin/python" -c 'import json, sys
issues = json.load(open(sys.argv[1]))["issues"]["issues"]
print(*sorted(i["location"] for i in issues if i["code"] == "NOT_INCLUDED"))' "$folder/found.json"
}
with=$(outside "ct/")
without=$(outside "ct")
echo "bids-validator-deno 3.0.2"
echo "with the line ct/: not part of BIDS: ${with:-nothing}"
echo "with the line ct:  not part of BIDS: ${without:-nothing}"
[ "$with" = "/sub-1/ct/" ] && [ -z "$without" ]
