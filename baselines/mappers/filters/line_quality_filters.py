"""FineWeb's own quality filter: lines without end punctuation, short lines, repeated lines, lists.

Follows Penedo et al. 2024 (The FineWeb Datasets, section 3.6) and the thresholds that its pipeline runs with; departs
from it in counting words at white space, and in taking Unicode's property Sentence_Terminal for what ends a sentence.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from baselines.core.factory_utils import text_filter
from corpusmith.text.segmentation.character_table import CODE_POINTS, parse_ranges
from corpusmith.text.segmentation.view import TextView

# Unicode 16.0, property Sentence_Terminal and the full stops (Sentence_Break STerm and ATerm)
SENTENCE_TERMINAL_RANGES = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 "
    "17D4-17D5 1803 1809 1944-1945 1AA8-1AAB 1B4E-1B4F 1B5A-1B5B 1B5E-1B5F 1B7D-1B7F 1C3B-1C3C 1C7E-1C7F 2024 "
    "203C-203D 2047-2049 2CF9-2CFB 2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F "
    "A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE12 FE15-FE16 FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 "
    "10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 "
    "1123B-1123C 112A9 113D4-113D5 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946 "
    "11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 "
    "16D6E-16D6F 16E98 1BC9F 1DA88"
)


@cache
def _ends_sentence() -> NDArray[np.bool_]:
    """Whether each code point ends a sentence (0x110000 entries)."""
    ends = np.zeros(CODE_POINTS, dtype=np.bool_)
    for first, last in parse_ranges(SENTENCE_TERMINAL_RANGES):
        ends[first : last + 1] = True
    return ends


@text_filter
def fineweb_quality_filter(
    seen: TextView,
    line_punct_thr: float = 0.12,
    line_punct_exclude_zero: bool = False,
    short_line_thr: float = 0.67,
    short_line_length: int = 30,
    char_duplicates_ratio: float = 0.01,
    new_line_ratio: float = 0.3,
) -> bool:
    """Remove a page of whose lines too few end a sentence, too many are short or repeated, or that is like a list.

    Args:
        seen: the view of the text; lines are those between line feeds that are not blank, a page without any is
            removed.
        line_punct_thr: smallest share of lines that end with sentence-ending punctuation.
        line_punct_exclude_zero: keep a page none of whose lines ends so.
        short_line_thr: largest share of short lines.
        short_line_length: largest length of a short line, in characters.
        char_duplicates_ratio: largest share of the characters (line feeds left out) in lines that stood before.
        new_line_ratio: largest number of line feeds a word of `str.split`.
    """
    table = seen.line_table
    filled = table.words > 0
    ends = table.ends[filled]
    lines = len(ends)
    if not lines:
        return False
    punctuated = np.count_nonzero(_ends_sentence()[seen.points[ends - 1]]) / lines
    if punctuated < line_punct_thr and not (punctuated == 0 and line_punct_exclude_zero):
        return False
    if np.count_nonzero(ends - table.starts[filled] <= short_line_length) / lines > short_line_thr:
        return False
    feeds = len(table.starts) - 1
    if seen.later_line_characters / (len(seen.text) - feeds) > char_duplicates_ratio:
        return False
    return not feeds / seen.survey.words > new_line_ratio
