"""Continuing prompts with a key/value cache, and reading what they share once."""

from emergence.generation.beams import beam_search, check_beams
from emergence.generation.decoding import decode
from emergence.generation.sampling import SamplingSettings, generate, most_probable

__all__ = ["SamplingSettings", "beam_search", "check_beams", "decode", "generate", "most_probable"]
