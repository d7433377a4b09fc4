"""Memory and time of loading a ChatGLM checkpoint, each time in a fresh process.

    python benchmarks/chatglm_loading.py [--gigabytes 1.2] [--shards 12] [--folder FOLDER] [--runs RUN ...]

Writes a synthetic checkpoint in the original layout (into a temporary folder where none is given; files
that are there are used again) and prints, for .safetensors and .bin, loaded as stored and cast: the peak
of resident memory less what the process had before, over the weights' bytes, and the seconds, with every
page of the weights touched, beside reading the same files plainly and beside `GlmForCausalLM` loading the
same weights from its own layout. Files are dropped from the page cache first. Aims: peak 1.15 or less;
seconds as near plain reading as GLM's own. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LOADERS = ("read", "glm", "chatglm", "bridge")
RUNS = (
    "float32 safetensors float32",
    "float32 bin float32",
    "float16 safetensors float16",
    "bfloat16 bin bfloat16",
    "float16 safetensors float32",
    "float16 bin float32",
    "float32 safetensors bfloat16",
    "float32 bin bfloat16",
)


def sizes(gigabytes: float, itemsize: int) -> dict[str, int]:
    """Original config keys of a model with about so many gigabytes of weights."""
    width, words = (2048, 32000) if gigabytes > 0.8 else (512, 4000)
    layer = width * (2.75 * 3 + 1 + 1.25) * width
    layers = max(2, round((gigabytes * 2**30 / itemsize - 2 * words * width) / layer))
    return {
        "hidden_size": width,
        "num_attention_heads": width // 128,
        "kv_channels": 128,
        "multi_query_group_num": width // 1024 or 1,
        "ffn_hidden_size": width * 11 // 4,
        "num_layers": layers,
        "padded_vocab_size": words,
        "seq_length": 2048,
    }


def config_json(gigabytes: float, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "add_qkv_bias": True,
        "multi_query_attention": True,
        "generation": "chatglm3",
        "torch_dtype": str(dtype).removeprefix("torch."),
        "eos_token_id": 2,
        "pad_token_id": 0,
        **sizes(gigabytes, dtype.itemsize),
    }


def original_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the original layout, in the order of the published files."""
    width, mlp = config["hidden_size"], config["ffn_hidden_size"]
    rows = config["num_attention_heads"] * config["kv_channels"]
    fused = rows + 2 * config["multi_query_group_num"] * config["kv_channels"]
    yield "transformer.embedding.word_embeddings.weight", (config["padded_vocab_size"], width)
    for layer in range(config["num_layers"]):
        block = f"transformer.encoder.layers.{layer}."
        yield f"{block}input_layernorm.weight", (width,)
        yield f"{block}self_attention.query_key_value.weight", (fused, width)
        yield f"{block}self_attention.query_key_value.bias", (fused,)
        yield f"{block}self_attention.dense.weight", (width, rows)
        yield f"{block}post_attention_layernorm.weight", (width,)
        yield f"{block}mlp.dense_h_to_4h.weight", (2 * mlp, width)
        yield f"{block}mlp.dense_4h_to_h.weight", (width, mlp)
    yield "transformer.encoder.final_layernorm.weight", (width,)
    yield "transformer.output_layer.weight", (config["padded_vocab_size"], width)


def write(folder: Path, gigabytes: float, shards: int, dtype: torch.dtype, suffix: str) -> None:
    """A checkpoint in about so many shards, one in memory at a time."""
    from safetensors.torch import save_file

    config = config_json(gigabytes, dtype)
    shapes = list(original_shapes(config))
    total = sum(torch.Size(shape).numel() for _, shape in shapes)
    block = (0.02 * torch.randn(2**20, generator=torch.Generator().manual_seed(0))).to(dtype)

    def tensor(shape: tuple[int, ...]) -> Tensor:
        size = torch.Size(shape).numel()
        return block.repeat(-(-size // len(block)))[:size].view(shape).clone()

    folder.mkdir(parents=True)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    parts: list[list[tuple[str, tuple[int, ...]]]] = [[] for _ in range(shards)]
    seen = 0
    for name, shape in shapes:
        parts[min(shards - 1, seen * shards // total)].append((name, shape))
        seen += torch.Size(shape).numel()
    parts = [part for part in parts if part]
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = f"{stem}-{number:05}-of-{len(parts):05}.{suffix}"
        held = {name: tensor(shape) for name, shape in part}
        if suffix == "bin":
            torch.save(held, folder / file)
        else:
            save_file(held, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(held, file)
    index = {"metadata": {"total_size": total * dtype.itemsize}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def write_native(original: Path, folder: Path) -> None:
    """The same weights in GLM's own layout and as many shards."""
    from transformers import AutoModelForCausalLM, GlmConfig, GlmForCausalLM

    model = AutoModelForCausalLM.from_pretrained(original)
    known = {field.name for field in fields(GlmConfig)} - {"architectures"}
    config = GlmConfig(**{key: getattr(model.config, key) for key in known})
    with torch.device("meta"):
        native = GlmForCausalLM(config)
    native.load_state_dict(model.state_dict(), assign=True)
    files = len([*original.glob("*.safetensors"), *original.glob("*.bin")])
    size = sum(weight.nbytes for weight in model.parameters())
    native.save_pretrained(folder, max_shard_size=-(-size // files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.2)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--runs", nargs="*", default=RUNS, help="'STORED SUFFIX LOADED', quoted")
    parser.add_argument("--loaders", nargs="*", choices=LOADERS, default=LOADERS)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        loader, folder, dtype = options.measure
        print(json.dumps(measure(loader, Path(folder), getattr(torch, dtype))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        run(options, options.folder or Path(scratch))


def run(options: argparse.Namespace, folder: Path) -> None:
    """Every run with every loader, each in a process of its own."""
    for asked in options.runs:
        stored, suffix, loaded = asked.split()
        original = folder / f"{stored}-{suffix}-{options.gigabytes}-{options.shards}"
        if not (original / "config.json").exists():
            write(original, options.gigabytes, options.shards, getattr(torch, stored), suffix)
        native = original.with_name(original.name + "-glm")
        if "glm" in options.loaders and not (native / "config.json").exists():
            child("prepare", original, loaded)
        for loader in options.loaders:
            found = child(loader, native if loader == "glm" else original, loaded)
            if options.json:
                print(json.dumps({"run": asked, "loader": loader, **found}), flush=True)
                continue
            peak = f"{found['peak'] / found['bytes']:6.3f}" if loader != "read" else "      "
            print(
                f"{asked:<30}{loader:<10}{found['bytes'] / 2**20:7.0f} MB{found['seconds']:8.2f} s"
                f"   peak {peak}",
                flush=True,
            )


def child(loader: str, folder: Path, dtype: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", loader, str(folder), dtype]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(loader: str, folder: Path, dtype: torch.dtype) -> dict[str, float]:
    """Peak bytes above what the process has before, bytes of weights, and seconds."""
    if loader == "prepare":
        prepare("chatglm")
        write_native(folder, folder.with_name(folder.name + "-glm"))
        return {}
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    if loader != "read":
        prepare(loader)
    forget(files)
    before = reset_peak()
    begin = time.perf_counter()
    size = sum(map(read, files)) if loader == "read" else touched(load(loader, folder, dtype))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak": status("VmHWM") - before, "bytes": size}


def prepare(loader: str) -> None:
    """Everything imported and run once, so that it is no part of what is measured."""
    from tl_ext.models.chatglm.registration import register

    if loader == "bridge":
        import tl_ext

        tl_ext.activate(quiet=True)
    register()
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        write(tiny, 0.001, 2, torch.float32, "safetensors")
        load("bridge" if loader == "bridge" else "chatglm", tiny, torch.float16)


def load(loader: str, folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM, GlmForCausalLM

    if loader == "bridge":
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(
            str(folder), device="cpu", dtype=dtype, tokenizer=numbers()
        )
    classes = {"glm": GlmForCausalLM, "chatglm": AutoModelForCausalLM}
    return classes[loader].from_pretrained(folder, dtype=dtype)


def numbers() -> Any:
    """A tokenizer whose words are numbers, for a checkpoint that has none."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"{number}": number for number in range(100)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="0"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="0", eos_token="2")


def touched(model: Any) -> int:
    """Read a number of every page of the weights, and give the weights' bytes, shared ones once."""
    ranges = []
    for weight in model.parameters():
        weight.detach().flatten()[:: 4096 // weight.itemsize].sum()
        ranges.append((weight.data_ptr(), weight.data_ptr() + weight.nbytes))
    total, end = 0, 0
    for first, last in sorted(ranges):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total


def read(file: Path) -> int:
    """Read a file into one buffer, and give its bytes."""
    buffer, total = bytearray(2**24), 0
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            total += count
    return total


def forget(files: list[Path]) -> None:
    """Drop files from the page cache."""
    os.sync()
    for file in files:
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def status(key: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def reset_peak() -> int:
    """Make the peak what is resident now, and give that."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


if __name__ == "__main__":
    main()
