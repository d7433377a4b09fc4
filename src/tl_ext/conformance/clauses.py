"""The clauses that checks cite: what each says in a line; docs/behaviour.md has the formulas."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLAUSES: Mapping[str, str] = MappingProxyType(
    {
        "M1": "A hooked model's logits are those of the plain model.",
        "M2": "In one forward pass a hook point fires once, with the shape that its name promises.",
        "M3": "A hook that returns what it was given changes nothing, not a bit.",
        "M4": "A hook point at a module's input or output holds what the plain module is given or gives.",
        "M5": "An edit there does what the same edit does to the plain module.",
        "M6": "An edit changes what is computed later, and nothing that is computed before it.",
        "M7": "Where each token sees only those before it, an edit at a token leaves earlier logits alone.",
        "M8": "The residual stream after a block is the one before it and what the block adds.",
        "M9": "An edit of what a block adds moves the residual stream by as much.",
        "M10": "Scores, pattern, values, z and the attention's output follow from each other.",
        "M11": "The final norm and the unembedding turn the last residual stream into the logits.",
        "M12": "A hook point has one content under all its names.",
        "M13": "A name that no hook point has is refused.",
        "M14": "A cache holds the names that were asked for, and no others.",
        "M15": "Padding that a mask leaves out changes nothing for real tokens.",
        "M16": "Texts that are read together give what each gives alone.",
        "M17": "Texts become the tokenizer's tokens, with BOS before them where asked, and back.",
        "M18": "The caller's tokenizer stays as it was, and what was set on it counts.",
        "M19": "The loss is the mean cross-entropy of the next token, over real tokens.",
        "M20": "Stopping at a layer gives the residual stream that enters it, and runs nothing later.",
        "M21": "Starting at a layer goes on from the residual stream that is given.",
        "M22": "Greedy generation chooses the most likely token of a whole pass, at each step.",
        "M23": "What is generated together is what each generates alone.",
        "M24": "An edit holds in every step of generation.",
        "D1": "A dictionary that was saved and loaded is the same dictionary.",
        "D2": "A reconstruction is the sum of what the latents contribute, and a bias.",
        "D3": "Latents are decoded with the scale of their own input.",
        "D4": "Folding the decoder's norms changes the unit of latents, and no reconstruction.",
        "D5": "This package's readers compute what SAELens computes.",
        "D6": "A splice puts what the dictionary gives in place of the activation.",
        "D7": "With its error term a splice changes nothing.",
        "D8": "An edit of latents moves the activation by what they contribute.",
        "D9": "What was attached and is taken back leaves nothing, in the model or in the dictionary.",
        "D10": "A hook at a dictionary's place acts on what is read there, and outlives the dictionary.",
        "D11": "Of several dictionaries each acts, and each is taken back alone.",
        "D12": "What is in a dictionary's place has all the names of the place.",
        "D13": "An evaluation gives the activation itself 1, and zeros 0.",
        "D14": "In whatever order things are attached, run and taken back, the model is what it was.",
    }
)
