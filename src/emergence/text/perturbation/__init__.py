"""Test texts as they come in life: typos, other names, another script; what is right of them stays right."""

from __future__ import annotations

from emergence.text.perturbation.catalogue import PERTURBATIONS, Perturb, make_perturb, perturbed

__all__ = ["PERTURBATIONS", "Perturb", "make_perturb", "perturbed"]
