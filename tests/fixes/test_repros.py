"""The scripts that showed the bugs: status 1 as things are, 0 under the fix, and 0 under the patch."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tl_ext import fixes
from tl_ext.fixes import State
from tl_ext.fixes.children import HEAVY, Children
from tl_ext.fixes.patching.patches import every_series, series
from tl_ext.fixes.patching.trees import Scratch
from tl_ext.upstream import saelens_usable, transformer_lens_major

HERE = "tests.fixes.test_repros"

# By script, the fixes that its bug takes.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "sae_lens/01_skip_transcoder_drops_Wskip": ("w-skip-dropped-on-attach",),
    "sae_lens/02_interrupt_loses_training": ("interrupted-training-loses-weights",),
    "sae_lens/03_default_config_crashes": ("default-sizes-refused",),
    "sae_lens/04_user_hooks_lost_on_attach": ("user-hooks-lost-on-attach",),
    "sae_lens/05_shared_input_hook_leak": ("dictionaries-on-one-hook-point-leak",),
    "sae_lens/08_bridge_alias_hooks_silent": ("aliases-silent-on-sae-bridge",),
    "sae_lens/09_bridge_hook_broken_after_detach": ("hook-point-dead-after-sae",),
    "sae_lens/10_run_evals_bridge_noop": ("aliases-silent-on-sae-bridge",),
    "sae_lens/13_seed_ignored": ("seed-never-read",),
    "sae_lens/16_padding_trained_on": ("padding-of-tokenised-data-trained-on",),
    "sae_lens/17_hook_z_default_unattachable": ("hook-z-dictionary-refused",),
    "sae_lens/18_layer_norm_state": ("decode-scales-by-another-input",),
    "sae_lens/19_hook_on_sae_survives_detach": ("hooks-on-sae-outlive-it",),
    "sae_lens/20_dtype_ignored": ("dtype-of-a-store-ignored",),
    "sae_lens/21_no_bos_silent": ("documents-not-separated-without-bos",),
    "transformer_lens/01_resid_mid_edit_only_mlp": ("resid-mid-edit-reaches-mlp-alone",),
    "transformer_lens/03_hook_name_not_alias": ("hook-name-is-not-the-one-asked-for",),
    "transformer_lens/04_inmemory_tokenizer_keyerror": ("callers-tokenizer-reloaded-at-boot",),
    "transformer_lens/05_tokenizer_added_tokens_lost": ("callers-tokenizer-reloaded-at-boot",),
    "transformer_lens/06_prepend_bos_arg_ignored_in_mask": ("prepend-bos-ignored-in-padding-mask",),
    "transformer_lens/09_register_adapter_not_seen_by_boot": (
        "registered-adapters-ignored-by-boot",
    ),
    "transformer_lens/10_entry_point_adapter_not_seen_by_boot": (
        "registered-adapters-ignored-by-boot",
    ),
    "transformer_lens/11_attn_scores_are_probabilities": (
        "delegated-attention-pattern-edits-dropped",
    ),
    "transformer_lens/14_sae_reset_loses_hook_conversion": ("hook-point-dead-after-sae",),
    "transformer_lens/19_olmo1_ln_hook_edit_crash": ("norm-without-gain-edit-crashes",),
    "transformer_lens/20_full_decomposition_post_norm": ("full-decomposition-before-post-norms",),
    "transformer_lens/24_sae_bridge_alias_hooks_noop": ("aliases-silent-on-sae-bridge",),
    "transformer_lens/28_left_padded_tokens_no_mask": ("left-padded-tokens-attended-to",),
    "transformer_lens/30_typo_hook_name_silent": ("mistyped-hook-names-ignored",),
    "transformer_lens/32_tokenizer_template_overwritten": ("callers-tokenizer-reloaded-at-boot",),
    "transformer_lens/33_compat_to_dtype": ("processed-weights-not-moved",),
    "transformer_lens/38_compat_bf16_crash": ("folded-biases-in-float32",),
}

# Scripts whose own case is a bug of 3.9 alone; the probe of the fix has the one that 4.3 has too.
ON_3_ALONE = {"transformer_lens/30_typo_hook_name_silent"}

# Scripts that rightly say 1 under their fix, and why.
STAY: dict[str, tuple[str, str]] = {
    "transformer_lens/25_sae_resid_mid_splice_wrong": (
        "resid-mid-edit-reaches-mlp-alone",
        "what it compares with attends to later tokens: it calls the attention without its mask",
    ),
    "transformer_lens/26_glm_prefix_tokens": (
        "multi-token-prefix",
        "it wants EOS first under prepend_bos=True, where the fix puts the tokenizer's own prefix",
    ),
    "transformer_lens/41_compat_logit_attrs_no_fold": (
        "final-norm-not-folded",
        "Nemotron's final norm has a bias, which becomes part of b_U, as with every model's LayerNorm: "
        "no component has it for its own",
    ),
}

NEEDS_SAELENS = {
    name for name in (*SCRIPTS, *STAY) if name.startswith("sae_lens/") or "_sae_" in name
}


@pytest.fixture(scope="module")
def repros(shared: Path) -> Path:
    folder = shared / "repro"
    if not folder.is_dir():
        pytest.skip(f"needs the scripts that show the bugs: no folder {folder}")
    return folder


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Forks in which the installed upstream packages are loaded already."""
    upstream = ("transformer_lens.model_bridge", *(["sae_lens.evals"] * saelens_usable()))
    with Children((*HEAVY, *upstream)) as made:
        yield made


def run_script(script: str, slugs: list[str]) -> int:
    """Run a script as its own program, with fixes in effect; its exit status."""
    sys.path.insert(0, str(Path(script).parent))
    sys.argv = [script]
    with fixes.applied(*slugs):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def status(children: Children, script: Path, slugs: list[str], path: tuple[Path, ...] = ()) -> int:
    outcome = children.call(f"{HERE}:run_script", str(script), slugs, path=path)
    assert not outcome.error, f"{outcome.error}\n{outcome.output}"
    return int(outcome.result)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.saelens] * (name in NEEDS_SAELENS)) for name in SCRIPTS],
)
def test_a_script_turns_from_1_to_0_under_the_fix(
    name: str, repros: Path, children: Children
) -> None:
    known, script = fixes.specs(), repros / f"{name}.py"
    slugs = [slug for slug in SCRIPTS[name] if known[slug].kind in ("runtime", "import-time")]
    here = [slug for slug in SCRIPTS[name] if fixes.expected(known[slug]) is State.PRESENT]
    shown = bool(here) and (name not in ON_3_ALONE or transformer_lens_major() < 4)
    assert status(children, script, []) == int(shown)
    if slugs:
        assert status(children, script, slugs) == 0


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.saelens] * (name in NEEDS_SAELENS)) for name in STAY],
)
def test_a_script_that_asks_for_something_else_stays_at_1(
    name: str, repros: Path, children: Children
) -> None:
    slug, _why = STAY[name]
    assert status(children, repros / f"{name}.py", [slug]) == 1


def test_every_script_has_its_place(repros: Path) -> None:
    there = {
        str(script.relative_to(repros).with_suffix(""))
        for script in repros.glob("*/*.py")
        if not script.name.endswith("common.py")
    }
    assert there == {*SCRIPTS, *STAY}


@pytest.mark.slow
@pytest.mark.parametrize(("upstream", "base"), every_series())
def test_the_scripts_say_0_under_the_patches(
    upstream: str, base: str, repros: Path, tmp_path: Path
) -> None:
    patches = [patch for patch in series(upstream, base) if not patch.of_source]
    installed = fixes.installed_release(upstream) or ""
    usable = upstream != "sae_lens" or saelens_usable()
    if not patches or installed.partition("/")[0] != base or not usable:
        pytest.skip(f"no patches here for {upstream} {base}")
    slugs = {patch.slug for patch in patches}
    scratch = Scratch.of_installed(upstream, tmp_path)
    for patch in patches:
        scratch.apply(patch)
    beside = ("transformer_lens.model_bridge",) if upstream == "sae_lens" else ()
    with Children((*HEAVY, *beside)) as children:
        wrong = [
            name
            for name, needed in SCRIPTS.items()
            if slugs.issuperset(needed) and (name not in NEEDS_SAELENS or saelens_usable())
            if status(children, repros / f"{name}.py", [], (scratch.folder,)) != 0
        ]
    assert wrong == []
