"""What a plugin hands over: frozen records of names and references.

Nothing here imports torch. Every callable is a reference, the string `"module:attribute"` (the
attribute may be dotted), which [`resolve`][tl_ext.plugins.manager.resolve] turns into the object.
A record that cannot be right is refused where it is made, with a
[`PluginError`][tl_ext.errors.PluginError].
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from tl_ext.errors import PluginError

Kind = Literal["runtime", "import-time", "patch-only", "source-only"]
TakesEffect = Literal["now", "at boot"]
Against = Literal["golden file", "transformers", "property suite"]

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\??")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class _Spec:
    """The checks that all specs share."""

    key: ClassVar[str]  # the field whose value no two plugins may both claim
    required: ClassVar[tuple[str, ...]] = ()  # fields that hold a reference
    optional: ClassVar[tuple[str, ...]] = ()  # fields that hold a reference or None

    def __post_init__(self) -> None:
        name = getattr(self, self.key)
        if not isinstance(name, str) or not name.strip():
            raise self._error(self.key, name, "a name that is not empty")
        for field in (*self.required, *self.optional):
            value = getattr(self, field)
            if value is None and field in self.optional:
                continue
            if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
                raise self._error(field, value, '"module:attribute"')

    def _error(self, field: str, given: object, expected: str) -> PluginError:
        name = getattr(self, self.key)
        return PluginError(
            f"{type(self).__name__}({self.key}={name!r}): {field} is {given!r}; "
            f"expected {expected}."
        )

    @property
    def name_of(self) -> str:
        """The name that no two plugins may both claim."""
        return str(getattr(self, self.key))

    def references(self) -> dict[str, str]:
        """Every reference of this record, by field; absent ones are left out."""
        present = {field: getattr(self, field) for field in (*self.required, *self.optional)}
        return {field: ref for field, ref in present.items() if ref is not None}


@dataclass(frozen=True)
class Verification:
    """One comparison that shows an architecture to compute what it should.

    On which versions it held is not written here: it is recorded by running `test`.

    Attributes:
        against: What it was compared with: a `"golden file"` written by the original code,
            `"transformers"`' own class, or a `"property suite"` that draws configurations.
        what: What was compared and how closely, in one line: `"logits at every position, 1e-4"`.
        test: The test module that shows it, as a path from the project's root:
            `"tests/models/test_mine.py"`.
    """

    against: Against
    what: str
    test: str

    def __post_init__(self) -> None:
        if self.against not in get_args(Against):
            raise self._error("against", " or ".join(map(repr, get_args(Against))))
        if not isinstance(self.what, str) or not self.what.strip():
            raise self._error("what", "a line that is not empty")
        if not isinstance(self.test, str) or not re.fullmatch(r"[^\s\\:]+\.py", self.test):
            raise self._error("test", "the path of a test module, with forward slashes")

    def _error(self, field: str, expected: str) -> PluginError:
        given = getattr(self, field)
        return PluginError(f"Verification: {field} is {given!r}; expected {expected}.")


@dataclass(frozen=True)
class Family:
    """What a user of an architecture wants to know before loading one of its checkpoints.

    Attributes:
        name: The model family, as people call it: `"ChatGLM"`.
        checkpoints: Checkpoints that load, by their hub names or by a family of sizes.
        refused: What is refused by name, one phrase each.
        tokenizer: What the tokenizer puts before a text and what else is its own, in one line.
    """

    name: str
    checkpoints: tuple[str, ...]
    refused: tuple[str, ...] = ()
    tokenizer: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise self._error("name", self.name, "a name that is not empty")
        for field in ("checkpoints", "refused"):
            _names(self, field)

    def _error(self, field: str, given: object, expected: str) -> PluginError:
        return PluginError(
            f"Family(name={self.name!r}): {field} is {given!r}; expected {expected}."
        )


@dataclass(frozen=True)
class AdapterSpec(_Spec):
    """An architecture TransformerLens can boot once this is activated.

    Attributes:
        architecture: The model class's name as checkpoints give it in `config.json`, such as
            `"ChatGLMForConditionalGeneration"`.
        adapter: Reference to a subclass of upstream's `ArchitectureAdapter`.
        conformance: Reference to a `tl_ext.conformance.ConformanceSpec`: which tiny models of it the
            conformance checks draw, and what is claimed of them.
        register: Reference to a callable without arguments that teaches transformers the config,
            model and tokenizer classes (`AutoConfig.register` and its like); called once per
            process.
        fixes: Slugs of the fixes without which its models would be wrong. `activate` applies them
            for the whole process when it registers the adapter, and says so.
        verified: What was compared with what, one record per comparison.
        family: Which checkpoints load, which are refused; None where nobody has said.
    """

    architecture: str
    adapter: str
    conformance: str | None = None
    register: str | None = None
    fixes: tuple[str, ...] = ()
    verified: tuple[Verification, ...] = ()
    family: Family | None = None

    key: ClassVar[str] = "architecture"
    required: ClassVar[tuple[str, ...]] = ("adapter",)
    optional: ClassVar[tuple[str, ...]] = ("conformance", "register")

    def __post_init__(self) -> None:
        super().__post_init__()
        for slug in _names(self, "fixes"):
            if not _SLUG.fullmatch(slug):
                raise self._error("fixes", slug, "slugs: lower-case words joined by hyphens")
        if not isinstance(self.verified, tuple) or not all(
            isinstance(one, Verification) for one in self.verified
        ):
            raise self._error("verified", self.verified, "a tuple of Verification")
        if not isinstance(self.family, Family | None):
            raise self._error("family", self.family, "a Family")


@dataclass(frozen=True)
class Target:
    """A name of an upstream package that a fix wraps.

    Attributes:
        name: `"module:attribute"` or `"module:Class.attribute"`; one that ends in `?` does not exist
            in every release.
        wrap: Reference to a callable `(original) -> replacement`. Of a static or class method it is
            given the function inside, of a property the function that reads it.
    """

    name: str
    wrap: str

    def __post_init__(self) -> None:
        for field in ("name", "wrap"):
            given = getattr(self, field)
            if not isinstance(given, str) or not _REFERENCE.fullmatch(given):
                raise PluginError(
                    f"Target(name={self.name!r}): {field} is {given!r}; "
                    'expected "module:attribute".'
                )


@dataclass(frozen=True)
class FixSpec(_Spec):
    """A bug of an upstream package that can be probed for and, where possible, fixed from outside.

    Attributes:
        slug: Its name, of lower-case words and hyphens.
        symptom: What a user sees, in one line.
        upstream: The package that has the bug, as it is imported: `"transformer_lens"`,
            `"sae_lens"`.
        kind: `"runtime"` is applied to what is imported; `"import-time"` must come before the
            upstream package is imported; `"patch-only"` could only be wrapped by pasting upstream's
            code, so that it exists as a patch alone; `"source-only"` is a bug in files that no
            package installs.
        takes_effect: `"now"`, or `"at boot"` for a fix that only models booted afterwards have.
        probe: Reference to a callable without arguments that returns
            [`Finding`][tl_ext.fixes.probing.Finding]: it reproduces the bug and never looks at a
            version number. That of a `"source-only"` fix takes one, the root of the source tree as
            a `Path`, and nothing is imported before it is called.
        targets: The names to wrap, for the runtime kind: every module that bound a name by
            `from x import f` is one.
        present_in: Releases in which the probe was seen to say PRESENT. For `sae_lens` its release
            and TransformerLens' beside it, `"6.54.12/3.9.0"`.
        absent_in: Releases in which it was seen to say ABSENT.
        touches: Slugs of other fixes whose probes this one changes when it is applied.
        recommended: Whether to apply it unless there is a reason not to: what it changes was wrong
            for everybody.
        bug: The upstream report's address, or None where there is none yet.
        needed_by: What of ours needs the fix.
        prepare: Reference to a callable without arguments, for the import-time kind: it prepares the
            import of `upstream` and returns a
            [`Redirection`][tl_ext.fixes.redirecting.Redirection] that can be taken back.
    """

    slug: str
    symptom: str
    upstream: str
    kind: Kind
    takes_effect: TakesEffect
    probe: str
    targets: tuple[Target, ...] = ()
    present_in: tuple[str, ...] = ()
    absent_in: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    recommended: bool = True
    bug: str | None = None
    needed_by: str = ""
    prepare: str | None = None

    key: ClassVar[str] = "slug"
    required: ClassVar[tuple[str, ...]] = ("probe",)
    optional: ClassVar[tuple[str, ...]] = ("prepare",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _SLUG.fullmatch(self.slug):
            raise self._error("slug", self.slug, "lower-case words joined by hyphens")
        for field, allowed in (("kind", Kind), ("takes_effect", TakesEffect)):
            if getattr(self, field) not in get_args(allowed):
                expected = " or ".join(map(repr, get_args(allowed)))
                raise self._error(field, getattr(self, field), expected)
        if not isinstance(self.targets, tuple) or not all(
            isinstance(target, Target) for target in self.targets
        ):
            raise self._error("targets", self.targets, "a tuple of Target")
        if (self.kind == "runtime") != bool(self.targets):
            expected = "some, for a runtime fix" if self.kind == "runtime" else "none"
            raise self._error("targets", self.targets, expected)
        if (self.kind == "import-time") != (self.prepare is not None):
            expected = "a reference" if self.kind == "import-time" else "None"
            raise self._error("prepare", self.prepare, f"{expected}, for a fix that is {self.kind}")
        for field in ("present_in", "absent_in", "touches"):
            _names(self, field)
        both = set(self.present_in) & set(self.absent_in)
        if both:
            raise self._error("absent_in", self.absent_in, f"no release of present_in: {both}")

    @property
    def applicable(self) -> bool:
        """Whether it can be applied to a process; else there is a patch alone."""
        return self.kind in ("runtime", "import-time")

    def references(self) -> dict[str, str]:
        """The probe, and the wrapper of each target."""
        wrappers = {f"targets[{n}]": target.wrap for n, target in enumerate(self.targets)}
        return super().references() | wrappers


@dataclass(frozen=True)
class AnalysisSpec(_Spec):
    """One analysis of the study: tensors from a model, tables from tensors, figures from tables.

    Attributes:
        name: Its name, which is also the stem of its files.
        title: Its heading on the page.
        needs: The names of the analyses whose tensors it reads.
        collect: Reference to `(session, needs) -> {name: tensor}`: runs the model. What it gives is
            stored, so that a rerun continues; `needs` holds the tensors of the analyses named above,
            by name.
        tabulate: Reference to `(tensors, plan) -> {name: table}`: pure; its own tensors and those it
            needs come by analysis name.
        draw: Reference to `(tables, plan) -> {name: Figure}`.
        caption: What a reader may and may not conclude from it.
        settings: Reference to a callable without arguments that gives, as a JSON value, what `collect`
            depends on besides the session and `needs`: numbers of draws, prompts, word lists. What is
            stored under other settings is not taken up again.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    collect: str
    tabulate: str
    draw: str
    caption: str
    settings: str | None = None

    key: ClassVar[str] = "name"
    required: ClassVar[tuple[str, ...]] = ("collect", "tabulate", "draw")
    optional: ClassVar[tuple[str, ...]] = ("settings",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _names(self, "needs")


@dataclass(frozen=True)
class DictionarySourceSpec(_Spec):
    """A place dictionaries come from, addressed as `scheme://rest`.

    Attributes:
        scheme: The part before `://`, in lower case.
        open: Reference to `(rest, *, hook_points, ids, device) -> iterable of Dictionary`, where
            `rest` is the part after `://`; the options are those of
            [`load_dictionaries`][tl_ext.dictionaries.loading.load_dictionaries], which checks again
            what was asked for.
        description: One line for `tl-ext plugins`.
    """

    scheme: str
    open: str
    description: str

    key: ClassVar[str] = "scheme"
    required: ClassVar[tuple[str, ...]] = ("open",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _SCHEME.fullmatch(self.scheme):
            raise self._error("scheme", self.scheme, "lower-case letters, digits, '+', '.', '-'")


@dataclass(frozen=True)
class ScorerSpec(_Spec):
    """A score of generated texts.

    Attributes:
        name: Its name, and its column's.
        score: Reference to a callable `(Generations) -> pandas.Series`, one number per generation.
            What else it needs are keyword-only options, which the description names.
        description: What the number means, with its unit.
        map_to_unit: Reference to a callable that maps the numbers to [0, 1], 1 being best; None
            where they lie there already.
        higher_is_better: False for a score such as perplexity.
    """

    name: str
    score: str
    description: str
    map_to_unit: str | None = None
    higher_is_better: bool = True

    key: ClassVar[str] = "name"
    required: ClassVar[tuple[str, ...]] = ("score",)
    optional: ClassVar[tuple[str, ...]] = ("map_to_unit",)


def _names(spec: Any, field: str) -> tuple[str, ...]:
    """The field as the tuple of strings it must be; a lone string is the common slip."""
    value = getattr(spec, field)
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        raise spec._error(field, value, "a tuple of strings")
    return value
