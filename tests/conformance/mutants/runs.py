"""What runs give, keep and leave: logits, caches, names, hooks."""

from __future__ import annotations

from typing import Any

from tests.conformance.mutants.planting import Mutant, Plant, anew, becomes, of

from tl_ext.conformance.subject import Subject

CACHE = "a-cache-holds-what-was-asked-for"
STAYS = "a-cache-stays-as-it-is"
NAMES = "other-names-hold-the-same"
REFUSED = "mistyped-names-are-refused"


def cached(change: Any) -> Plant:
    """What `run_with_cache` gives is put through a function of (logits, cache)."""

    def plant(subject: Subject) -> None:
        def run(self: Any, *args: Any, **options: Any) -> Any:
            return change(*kind.run_with_cache(self, *args, **options))

        kind = becomes(subject.bridge, run_with_cache=run)

    return plant


def filtered(change: Any) -> Plant:
    """A list for `names_filter` is put through a function of (names, all names)."""

    def plant(subject: Subject) -> None:
        def run(self: Any, *args: Any, names_filter: Any = None, **options: Any) -> Any:
            if isinstance(names_filter, list):
                names_filter = change(names_filter, list(self.hook_dict))
            return kind.run_with_cache(self, *args, names_filter=names_filter, **options)

        kind = becomes(subject.bridge, run_with_cache=run)

    return plant


def hooking(change: Any) -> Plant:
    """The hooks of `run_with_hooks` are put through a function of (hooks, table of hook points)."""

    def plant(subject: Subject) -> None:
        def run(self: Any, *args: Any, fwd_hooks: Any = (), **options: Any) -> Any:
            hooks = change(list(fwd_hooks), self.hook_dict)
            return kind.run_with_hooks(self, *args, fwd_hooks=hooks, **options)

        kind = becomes(subject.bridge, run_with_hooks=run)

    return plant


def values(cache: Any) -> dict[str, Any]:
    """The dictionary in a cache."""
    return cache if isinstance(cache, dict) else cache.cache_dict  # type: ignore[no-any-return]


def layers_swapped(logits: Any, cache: Any) -> Any:
    held = values(cache)
    one, other = "blocks.0.hook_out", "blocks.1.hook_out"
    if {one, other} <= held.keys():
        held[one], held[other] = held[other], held[one]
    return logits, cache


def other_name_of_another_layer(logits: Any, cache: Any) -> Any:
    held = values(cache)
    if "blocks.1.hook_resid_pre" in held:
        held["blocks.0.hook_resid_pre"] = held["blocks.1.hook_resid_pre"]
    return logits, cache


def other_name_missing(logits: Any, cache: Any) -> Any:
    values(cache).pop("blocks.0.attn.hook_z", None)
    return logits, cache


def in_one_buffer() -> Any:
    buffers: dict[str, Any] = {}

    def kept(logits: Any, cache: Any) -> Any:
        held = values(cache)
        for name, value in held.items():
            buffer = buffers.setdefault(name, value.clone())
            held[name] = buffer.copy_(value) if buffer.shape == value.shape else value
        return logits, cache

    return kept


def stale_logits(subject: Subject) -> None:
    first: list[Any] = []

    def run(self: Any, *args: Any, **options: Any) -> Any:
        first.append(kind.run_with_hooks(self, *args, **options))
        return first[0]

    kind = becomes(subject.bridge, run_with_hooks=run)


def hooks_stay() -> Any:
    left: list[str] = []

    def leave(hooks: list[Any], points: dict[str, Any]) -> list[Any]:
        # Hooks that add something; those that read are as good as gone.
        for name, hook in hooks:
            if hook.__name__ == "add" and len(left) < 3:
                left.append(name)
                points[name].add_hook(hook)
        return hooks

    return leave


def known_alone(hooks: list[Any], points: dict[str, Any]) -> list[Any]:
    return [(name, hook) for name, hook in hooks if name in points]


def known_names_alone(names: list[str], points: list[str]) -> list[str]:
    return [name for name in names if name in points]


def at_the_end_of_the_block(hooks: list[Any], points: dict[str, Any]) -> list[Any]:
    other = {"blocks.0.hook_resid_pre": "blocks.0.hook_out"}
    return [(other.get(name, name), hook) for name, hook in hooks]


RUNS = (
    Mutant(
        "logits-are-those-of-the-first-run",
        "Logits are kept for the same tokens, whatever hooks there are.",
        stale_logits,
        of("edits-change-what-is-later-alone", "edits-do-what-they-do-to-modules"),
        "blocks.0.hook_in",
    ),
    Mutant(
        "layers-are-swapped-in-a-cache",
        "A cache is filled in the order of names, where 10 comes before 2.",
        cached(layers_swapped),
        of(CACHE, STAYS, NAMES),
        "blocks.0.hook_out",
        layers=2,
    ),
    Mutant(
        "other-name-is-filled-from-another-layer",
        "Names of the old model are copied into a cache with an index of another loop.",
        cached(other_name_of_another_layer),
        of(NAMES),
        "blocks.0.hook_resid_pre",
        layers=2,
    ),
    Mutant(
        "other-name-is-in-no-cache",
        "A name that can be hooked is not among those that are cached.",
        cached(other_name_missing),
        of(NAMES),
        "blocks.0.attn.hook_z",
    ),
    Mutant(
        "edit-under-another-name-goes-elsewhere",
        "run_with_hooks and the table of names do not agree about a name.",
        hooking(at_the_end_of_the_block),
        of("edits-under-other-names-are-the-same"),
        "blocks.0.hook_resid_pre",
    ),
    Mutant(
        "names-filter-is-ignored",
        "The names do not arrive where hooks are attached.",
        filtered(lambda names, known: None),
        of(CACHE),
        "names_filter",
    ),
    Mutant(
        "names-filter-is-too-wide",
        "Names are compared by what they begin with.",
        filtered(lambda names, known: [one for one in known if one.startswith(names[0][:8])]),
        of(CACHE),
        "names_filter",
    ),
    Mutant(
        "names-filter-keeps-the-first-alone",
        "A list is taken for one name.",
        filtered(lambda names, known: names[:1]),
        of(CACHE),
        "names_filter",
        layers=2,
    ),
    Mutant(
        "cache-is-overwritten-by-the-next-run",
        "A cache holds buffers that the next run writes into.",
        anew(lambda: cached(in_one_buffer())),
        of(STAYS),
        "after another run",
    ),
    Mutant(
        "mistyped-names-of-hooks-are-swallowed",
        "A hook on a name that does not exist is dropped without a word.",
        hooking(known_alone),
        of(REFUSED),
        "run_with_hooks",
    ),
    Mutant(
        "mistyped-names-of-a-filter-are-swallowed",
        "The same for what is to be cached.",
        filtered(known_names_alone),
        of(REFUSED),
        "names_filter",
    ),
    Mutant(
        "hooks-outlive-their-run",
        "Hooks are not taken off after the run that they were given for.",
        anew(lambda: hooking(hooks_stay())),
        of("edits-do-what-they-do-to-modules"),
        "embed.hook_out",
    ),
)
