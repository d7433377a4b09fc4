"""Where a latent's public page is."""

from __future__ import annotations

from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.errors import InputError

ADDRESS = "https://www.neuronpedia.org"


def neuronpedia_link(dictionary: Dictionary, latent: int) -> str | None:
    """The address of a latent's page on Neuronpedia.

    Args:
        dictionary: Any dictionary.
        latent: Which latent.

    Returns:
        For example `https://www.neuronpedia.org/gpt2-small/7-res-jb/2392`; None where the dictionary's
        release has no pages. Nothing is asked of the network.

    Raises:
        InputError: The dictionary has no such latent.
    """
    if not 0 <= latent < dictionary.d_latent:
        raise InputError(
            f"{dictionary.id} has {dictionary.d_latent} latents; there is none numbered {latent}."
        )
    if not dictionary.neuronpedia_id:
        return None
    return f"{ADDRESS}/{dictionary.neuronpedia_id}/{latent}"
