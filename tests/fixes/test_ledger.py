"""What the ledger changes it can take back, in any order, and it never overwrites a stranger's value."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.errors import FixError
from tl_ext.fixes.ledger import FixStatus, Ledger
from tl_ext.plugins import FixSpec, Target

MODULE = "made_for_the_ledger"


def spec(slug: str, *targets: str, wrap: str = "") -> FixSpec:
    return FixSpec(
        slug=slug,
        symptom="none",
        upstream="json",
        kind="runtime",
        takes_effect="now",
        probe=f"{MODULE}:probe",
        targets=tuple(
            Target(
                target if ":" in target else f"{MODULE}:{target}",
                f"{MODULE}:{wrap or 'wrap_' + slug}",
            )
            for target in targets
        ),
    )


def make_upstream() -> types.ModuleType:
    """A module as upstream's: a function that a second name shares, a class and one that inherits."""

    def function() -> str:
        return "function"

    class Base:
        def method(self) -> str:
            return "method"

        @staticmethod
        def static() -> str:
            return "static"

        @classmethod
        def named(cls) -> str:
            return cls.__name__

        @property
        def kept(self) -> str:
            """What is kept."""
            return vars(self).get("_kept", "kept")

        @kept.setter
        def kept(self, value: str) -> None:
            vars(self)["_kept"] = value

        @kept.deleter
        def kept(self) -> None:
            vars(self).clear()

    class Child(Base):
        pass

    def adds(mark: str) -> Callable[[Any], Any]:
        def wrap(original: Callable[..., str]) -> Callable[..., str]:
            return lambda *args: mark + original(*args)

        return wrap

    def breaks(original: object) -> object:
        raise RuntimeError("no way to wrap this")

    module = types.ModuleType(MODULE)
    vars(module).update(function=function, copied=function, Base=Base, Child=Child)
    vars(module).update({f"wrap_{mark}": adds(mark) for mark in "abc"}, breaks=breaks)
    return module


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = make_upstream()
    monkeypatch.setitem(sys.modules, MODULE, module)
    yield module


def test_revert_restores_the_very_object(upstream: Any) -> None:
    ledger, before = Ledger(), upstream.function
    ledger.apply(spec("a", "function"))
    (done,) = ledger.status(spec("a", "function"))
    assert (upstream.function(), done.applied, done.targets) == (
        "afunction",
        1,
        (f"{MODULE}:function",),
    )
    ledger.revert(spec("a", "function"))
    assert ledger.status(spec("a", "function")) == [FixStatus("a", 0)]
    assert upstream.function is before


def test_applies_are_counted(upstream: Any) -> None:
    ledger, one = Ledger(), spec("a", "function")
    for count in (1, 2, 3):
        ledger.apply(one)
        assert ledger.count(one) == count
    assert upstream.function() == "afunction", "counted, not stacked"
    for count in (2, 1, 0):
        ledger.revert(one)
        assert ledger.count(one) == count
    assert upstream.function() == "function"
    with pytest.raises(FixError, match="'a' is not applied; applied are none"):
        ledger.revert(one)


def test_taking_the_first_of_two_back_keeps_the_second(upstream: Any) -> None:
    ledger, a, b = Ledger(), spec("a", "function"), spec("b", "function")
    ledger.apply(a)
    ledger.apply(b)
    assert upstream.function() == "bafunction"
    ledger.revert(a)
    assert upstream.function() == "bfunction"
    ledger.revert(b)
    assert upstream.function() == "function"


@given(st.lists(st.tuples(st.sampled_from(["apply", "revert"]), st.sampled_from("abc"))))
def test_any_order_of_applies_and_reverts(steps: list[tuple[str, str]]) -> None:
    """Against the plain model: a list of slugs in the order they came in, and a count for each."""
    upstream = make_upstream()
    sys.modules[MODULE] = upstream
    original, base = upstream.function, dict(vars(upstream.Child))
    targets = {"a": ("function",), "b": ("function", "Child.method"), "c": ("Child.method",)}
    ledger, order, counts = Ledger(), [], dict.fromkeys("abc", 0)
    try:
        for step, slug in steps:
            one = spec(slug, *targets[slug])
            if step == "apply":
                ledger.apply(one)
                order += [slug] * (counts[slug] == 0)
                counts[slug] += 1
            elif counts[slug]:
                ledger.revert(one)
                counts[slug] -= 1
                if not counts[slug]:
                    order.remove(slug)
            for name, call in (
                ("function", upstream.function),
                ("method", upstream.Child().method),
            ):
                target = "function" if name == "function" else "Child.method"
                marks = [mark for mark in reversed(order) if target in targets[mark]]
                assert call() == "".join(marks) + name
        for slug, count in counts.items():
            for _ in range(count):
                ledger.revert(spec(slug, *targets[slug]))
        assert upstream.function is original
        assert dict(vars(upstream.Child)) == base
    finally:
        del sys.modules[MODULE]


def test_an_inherited_name_is_restored_by_deletion(upstream: Any) -> None:
    ledger, one = Ledger(), spec("a", "Child.method")
    ledger.apply(one)
    assert (upstream.Child().method(), upstream.Base().method()) == ("amethod", "method")
    ledger.revert(one)
    assert "method" not in vars(upstream.Child)
    upstream.Base.method = lambda self: "later"
    assert upstream.Child().method() == "later"


def test_static_and_class_methods_stay_what_they_are(upstream: Any) -> None:
    ledger, one = Ledger(), spec("a", "Base.static", "Child.named")
    ledger.apply(one)
    assert (upstream.Base.static(), upstream.Base().static()) == ("astatic", "astatic")
    assert (upstream.Child.named(), upstream.Base.named()) == ("aChild", "Base")
    assert isinstance(vars(upstream.Base)["static"], staticmethod)
    ledger.revert(one)
    assert (upstream.Base.static(), upstream.Child.named()) == ("static", "Child")


def test_a_property_stays_one_and_what_it_reads_is_wrapped(upstream: Any) -> None:
    ledger, one, here = Ledger(), spec("a", "Base.kept"), upstream.Child()
    original = vars(upstream.Base)["kept"]
    ledger.apply(one)
    assert here.kept == "akept"
    here.kept = "other"
    assert here.kept == "aother"
    del here.kept
    assert here.kept == "akept"
    assert upstream.Base.kept.__doc__ == "What is kept."
    ledger.revert(one)
    assert here.kept == "kept" and vars(upstream.Base)["kept"] is original


def test_one_object_at_two_targets_stays_one_object(upstream: Any) -> None:
    ledger, one = Ledger(), spec("a", "function", "copied")
    ledger.apply(one)
    assert upstream.function is upstream.copied
    assert upstream.copied() == "afunction"


def test_a_foreign_value_stops_the_ledger_and_stays(upstream: Any) -> None:
    ledger, a, b = Ledger(), spec("a", "function"), spec("b", "copied", "function")
    ledger.apply(a)
    ours, copied = upstream.function, upstream.copied

    def stranger() -> str:
        return "stranger"

    upstream.function = stranger
    for change in (lambda: ledger.apply(a), lambda: ledger.apply(b), lambda: ledger.revert(a)):
        with pytest.raises(
            FixError, match=r"function holds .*stranger.*Take that change back first"
        ):
            change()
        assert upstream.function is stranger
        assert upstream.copied is copied
    upstream.function = ours
    ledger.revert(a)
    assert ledger.count(a) == 0
    assert upstream.function() == "function"


def test_what_somebody_did_before_is_kept_underneath(upstream: Any) -> None:
    upstream.function = lambda: "theirs"
    ledger, one = Ledger(), spec("a", "function")
    ledger.apply(one)
    assert upstream.function() == "atheirs"
    ledger.revert(one)
    assert upstream.function() == "theirs"


def test_nothing_is_changed_where_one_target_fails(upstream: Any) -> None:
    before, ledger = dict(vars(upstream)), Ledger()
    for broken, told in (
        (spec("a", "function", "functoin"), "functoin does not exist.*Nearest: function"),
        (spec("a", "function", "no_module_of_this_name:x"), "no_module_of_this_name"),
        (spec("a", "function", wrap="breaks"), "Wrapping .* failed.*no way to wrap this"),
        (spec("a", "gone?", "also.gone?"), "found none of its targets"),
    ):
        with pytest.raises(FixError, match=told):
            ledger.apply(broken)
        assert dict(vars(upstream)) == before
        assert ledger.count(broken) == 0
    ledger.apply(spec("b", "function"))
    with pytest.raises(FixError, match="Wrapping"):
        ledger.apply(spec("a", "function", wrap="breaks"))
    assert upstream.function() == "bfunction"
    ledger.revert(spec("b", "function"))
    assert dict(vars(upstream)) == before


def test_a_target_that_may_lack_is_told(upstream: Any) -> None:
    ledger, one = Ledger(), spec("a", "function", "gone?")
    ledger.apply(one)
    (done,) = ledger.status(one)
    assert done.absent == (f"{MODULE}:gone",)


def test_modules_that_hold_the_name_without_being_declared_are_told(
    upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, one = Ledger(), spec("a", "function", "copied")
    early = types.ModuleType("made_early")
    early.f = upstream.function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_early", early)
    ledger.apply(one)
    assert [status.stray for status in ledger.status(one)] == [("made_early:f",)]
    late = types.ModuleType("made_late")
    late.f = upstream.function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_late", late)
    other = spec("b", "Child.method")
    ledger.apply(other)
    strays = [status.stray for status in ledger.status(one, other, spec("c", "function"))]
    assert strays == [("made_early:f", "made_late:f"), (), ()]


@pytest.mark.parametrize("kind", ["patch-only", "source-only"])
def test_only_the_runtime_kind_is_applied_to_what_is_imported(kind: Any) -> None:
    one = FixSpec("a", "none", "json", kind, "now", "a.module:probe")
    with pytest.raises(FixError, match=rf"is {kind} and cannot be applied"):
        Ledger().apply(one)
