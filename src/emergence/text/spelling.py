"""How a byte-level vocabulary spells text: one visible letter a byte (Radford et al. 2019)."""

from __future__ import annotations

from functools import cache

__all__ = ["byte_letters", "spell", "unspell"]


@cache
def byte_letters() -> tuple[str, ...]:
    """Return the visible character that stands for each byte.

    Printable Latin-1 bytes stand for themselves; the others take the characters from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(spare)) for byte in range(256))


@cache
def _bytes_of_letters() -> dict[str, int]:
    return {letter: byte for byte, letter in enumerate(byte_letters())}


def spell(text: str) -> str:
    """Return ``text`` as a vocabulary spells it, a letter for every byte of its UTF-8."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in text.encode())


def unspell(token: str) -> str | None:
    """Return the text that a token spells; None where its bytes are no whole characters."""
    table = _bytes_of_letters()
    try:
        return bytes(table[letter] for letter in token).decode()
    except (KeyError, UnicodeDecodeError):
        return None
