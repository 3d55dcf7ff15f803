"""Write the demo model's Hugging Face directory as one F16 GGUF file.

Same result as llama.cpp's own conversion of a Llama: 1-D tensors in float32, the rest in
float16, rows of the query and key projections reordered because llama.cpp turns neighbouring
pairs where Hugging Face turns halves, and no output matrix, for it is the embedding.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMAL, CONTROL = 1, 3
"""Token types as GGUF numbers them."""


def convert(source: Path, target: Path, name: str = "qgate-demo") -> None:
    """Write `target`, an F16 GGUF file, from the Hugging Face directory `source`."""
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(target, "llama")
    _add_shape(writer, config, name)
    _add_tokenizer(writer, source)
    for old, value in sorted(load_file(source / "model.safetensors").items()):
        new, data = converted(old, value, config)
        writer.add_tensor(new, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def converted(
    name: str, value: np.ndarray[Any, Any], config: dict[str, Any]
) -> tuple[str, np.ndarray[Any, Any]]:
    """Return a tensor's GGUF name and its values as the file holds them."""
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        number, part = stem.removeprefix("model.layers.").split(".", 1)
        new = f"blk.{number}.{NAMES[part]}.weight"
    else:
        part = stem
        new = f"{NAMES[stem]}.weight"
    if part == "self_attn.q_proj":
        value = paired(value, config["num_attention_heads"])
    elif part == "self_attn.k_proj":
        value = paired(value, config["num_key_value_heads"])
    return new, value.astype("float32" if value.ndim == 1 else "float16")


def paired(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Return rows reordered per head from halves (a b c | A B C) to pairs (a A b B c C)."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _add_shape(writer: Any, config: dict[str, Any], name: str) -> None:  # noqa: ANN401 - no types
    head = config["head_dim"]
    writer.add_type("model")
    writer.add_name(name)
    writer.add_license("apache-2.0")
    writer.add_description("Small reference model for tests of quantization")
    writer.add_file_type(1)
    writer.add_quantization_version(2)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_tokenizer(writer: Any, source: Path) -> None:  # noqa: ANN401
    content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    by_id = {number: text for text, number in content["model"]["vocab"].items()}
    tokens = [by_id[number] for number in range(len(by_id))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if text in special else NORMAL for text in tokens])
    writer.add_token_merges([" ".join(pair) for pair in content["model"]["merges"]])
    writer.add_bos_token_id(special[settings["bos_token"]])
    writer.add_eos_token_id(special[settings["eos_token"]])
    writer.add_pad_token_id(special[settings["pad_token"]])
    writer.add_eot_token_id(special["<|im_end|>"])
    writer.add_add_bos_token(settings["add_bos_token"])
    writer.add_add_eos_token(settings["add_eos_token"])
    writer.add_chat_template((source / "chat_template.jinja").read_text(encoding="utf-8"))
