"""The command line on ChatGLM folders: what loads, and what is said of what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.models.chatglm.checkpoints import write_checkpoint
from tests.models.chatglm.tiny_tokenizer import write_sentencepiece
from typer.testing import CliRunner

from tl_ext.cli import app

runner = CliRunner(env={"COLUMNS": "200", "TL_EXT_PLUGINS": None})


def tokens(folder: Path, status: int) -> str:
    done = runner.invoke(app, ["tokens", "Je suis heureux", "--model", str(folder)])
    assert done.exit_code == status, done.output
    return done.output


def test_the_prefix_is_named_and_not_in_the_table(tmp_path: Path) -> None:
    write_sentencepiece(write_checkpoint(tmp_path, padded_vocab_size=448))
    output = tokens(tmp_path, 0)
    assert "Before the text stands [gMASK] sop (" in output
    table = output.partition("Before the text")[0]
    assert "'Je'" in table and "[gMASK]" not in table


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"rmsnorm": False}, "rmsnorm=False means LayerNorm"),
        ({"quantization_bit": 4}, "its weights are quantised (quantization_bit=4)"),
        ({"position_encoding_2d": True}, "ChatGLM-6B of the first generation"),
        ({"architectures": ["ChatGLMForSequenceClassification"]}, "whose classification head"),
    ],
)
def test_a_refused_config_is_one_sentence_and_no_weight_is_read(
    config: dict[str, Any], told: str, tmp_path: Path
) -> None:
    write_sentencepiece(write_checkpoint(tmp_path, padded_vocab_size=448, **config))
    (tmp_path / "model.safetensors").write_bytes(b"never read")
    output = tokens(tmp_path, 2)
    (line,) = [line for line in output.splitlines() if line.startswith("tl-ext: ")]
    assert told in line and "Traceback" not in output


def test_a_folder_without_its_tokenizer_and_an_architecture_nobody_knows(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    assert f"{tmp_path} has no tokenizer.model to build" in tokens(tmp_path, 2).replace("\n", " ")
    config = {"model_type": "nobody", "architectures": ["NobodyForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "it is a NobodyForCausalLM (model_type 'nobody')" in tokens(tmp_path, 2)
