"""COCO detection data: find the files, read them, say precisely what is wrong. Torch-free.

The api checks an upload with it and the engine trains from it, so what was accepted is what is trained on. What tools
write in other ways is brought into one form; what that changed or left out is in `CocoSet.warnings`. What follows may
rely on it: every image can be decoded, every box is of use, every number is sound.

Read in this order: `records` (what comes out), `splits` (the way there), then `layouts` and `folder` (which files),
`document` and `fields` (what is in them), `images`, `damage` and `turning` (pixels), `boxes`, `outlines` and `forms`,
`classes`, `leaks`.

Left out on purpose: other formats (importers will produce this form), masks and keypoints.
"""

from detrdistill.files.coco.damage import IMAGE_FORMATS, MAX_PIXELS
from detrdistill.files.coco.fields import Key, key_of
from detrdistill.files.coco.folder import find_root
from detrdistill.files.coco.images import IMAGE_SUFFIXES, load_image
from detrdistill.files.coco.layouts import find_annotations
from detrdistill.files.coco.records import MIN_BOX_PX, SPLITS, CocoSet, DatasetOptions, Id, ImageRecord, Split
from detrdistill.files.coco.splits import read_split, read_splits

__all__ = [
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MIN_BOX_PX",
    "SPLITS",
    "CocoSet",
    "DatasetOptions",
    "Id",
    "ImageRecord",
    "Key",
    "Split",
    "find_annotations",
    "find_root",
    "key_of",
    "load_image",
    "read_split",
    "read_splits",
]
