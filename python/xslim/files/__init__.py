"""Read and write files safely: an output is written completely or not at all, and never replaces an input."""

from xslim.files.inputs import InputFile, refuse_inputs, same_file
from xslim.files.places import require_place, require_writable
from xslim.files.reading import require_content
from xslim.files.scratch import clear_leftovers, is_scratch, scratch_folder
from xslim.files.whole import put_in_place, write_whole

__all__ = [
    "InputFile",
    "clear_leftovers",
    "is_scratch",
    "put_in_place",
    "refuse_inputs",
    "require_content",
    "require_place",
    "require_writable",
    "same_file",
    "scratch_folder",
    "write_whole",
]
