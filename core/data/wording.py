"""When two texts say the same: what differs only in case, white space, composition or characters that nobody sees."""

from __future__ import annotations

import re
import unicodedata

# Signs that differ from one editor to the next.
TYPOGRAPHY = str.maketrans(dict.fromkeys("‘’‚‛′", "'") | dict.fromkeys("“”„‟″", '"') | dict.fromkeys("‐‑‒–—―−", "-"))
# Control characters that are no white space, format characters (Unicode's Cf), and what else has no glyph: the joiner of
# graphemes, fillers, the empty pattern of Braille, variation selectors.
UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    r"\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
    r"\u034f\u115f\u1160\u17b4\u17b5\u2800\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# A word, or a character of a script that writes without spaces.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+")
ASCII_UNSEEN = {code: None for code in range(128) if UNSEEN.match(chr(code))}


def words_of(text: str) -> list[str]:
    """The words of the text as they are compared."""
    return WORD.findall(normal(text))


def normal(text: str) -> str:
    """The text as it is compared: NFKC, case folded, without characters that nobody sees, white space as single spaces."""
    if text.isascii():  # ten times as quick
        return " ".join((text if text.isprintable() else text.translate(ASCII_UNSEEN)).lower().split())
    text = UNSEEN.sub("", text)
    folded = unicodedata.normalize("NFKC", text).casefold().translate(TYPOGRAPHY)
    return " ".join(UNSEEN.sub("", unicodedata.normalize("NFKC", folded)).split())
