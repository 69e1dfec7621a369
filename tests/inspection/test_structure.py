import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmkit.errors import InputRefused
from llmkit.inspection.outline import outline, shapes, span
from llmkit.inspection.structure import TensorFact, assemble, read_structure
from llmkit.models.registry import family_names

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "hidden_act": "silu", "rope_theta": 10000.0, "vocab_size": 50, "hidden_size": 8,
    "intermediate_size": 12, "max_position_embeddings": 32,
}  # fmt: skip


def facts(**shapes):
    return [
        TensorFact(n.replace("__", "."), "float32", s, int(np.prod(s)), 4 * int(np.prod(s)), "m")
        for n, s in shapes.items()
    ]


def llama_tensors(layers=3, head=False):
    found = {"model__embed_tokens__weight": (50, 8), "model__norm__weight": (8,)}
    for i in range(layers):
        p = f"model__layers__{i}__"
        found |= {p + "self_attn__q_proj__weight": (8, 8), p + "self_attn__k_proj__weight": (4, 8)}
        found |= {p + "mlp__gate_proj__weight": (12, 8), p + "mlp__down_proj__weight": (8, 12)}
        found |= {p + "input_layernorm__weight": (8,), p + "post_attention_layernorm__weight": (8,)}
    return facts(**found, **({"lm_head__weight": (50, 8)} if head else {}))


def write(path, tensors, config):
    path.mkdir(exist_ok=True)
    save_file({n: np.zeros(s, dtype=np.float32) for n, s in tensors.items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    return path


def lines(node, indent=0):
    for child in node.children:
        yield "  " * indent + child.name + (f" x{child.count}" if child.count > 1 else "")
        yield from lines(child, indent + 1)


def test_equal_layers_fold_wrappers_vanish_and_parts_stand_in_the_order_of_data_flow():
    root = outline(assemble("m", llama_tensors(), {**LLAMA, "tie_word_embeddings": True}))
    assert list(lines(root)) == [
        "embed_tokens", "layers x3", "  input_layernorm", "  self_attn", "    q_proj", "    k_proj",
        "  post_attention_layernorm", "  mlp", "    gate_proj", "    down_proj", "norm", "head",
    ]  # fmt: skip
    layers = root.children[1]
    assert layers.params == 3 * (64 + 32 + 96 + 96 + 8 + 8)
    assert {c.name: c.note for c in layers.children}["self_attn"] == "4 heads, 2 kv, rope"
    assert {c.name: c.note for c in layers.children}["mlp"] == "swiglu"


def test_a_layer_that_differs_is_shown_apart():
    tensors = [*llama_tensors(), *facts(model__layers__1__extra__weight=(2, 2))]
    [layers] = [n for n in outline(assemble("m", tensors, LLAMA)).children if n.name == "layers"]
    assert [(c.name, c.count) for c in layers.children] == [("0,2", 2), ("1", 1)]


@pytest.mark.parametrize("stored", [True, False])
def test_a_tied_head_is_counted_once(stored):
    structure = assemble("m", llama_tensors(head=stored), {**LLAMA, "tie_word_embeddings": True})
    assert structure.params == sum(t.params for t in llama_tensors())
    head = outline(structure).children[-1]
    assert head.params == 0
    assert "tied to embed_tokens" in (head.note, head.shape)


def test_an_untied_head_is_counted():
    structure = assemble("m", llama_tensors(head=True), {**LLAMA, "tie_word_embeddings": False})
    assert structure.params == sum(t.params for t in llama_tensors(head=True))
    assert outline(structure).children[-1].params == 400


def test_an_unknown_family_gets_a_tree_too():
    tensors = facts(tower__0__mix__weight=(4, 4), tower__1__mix__weight=(4, 4), reader__table=(9, 4), odd=(3,))
    root = outline(assemble("m", tensors, {"model_type": "wholly-new"}))
    assert sorted(c.name for c in root.children) == ["odd", "reader", "tower"]
    assert [c.count for c in root.children if c.name == "tower"] == [2]


def test_buffers_are_no_parameters(tmp_path):
    tensors = {
        "h.0.attn.bias": (1, 1, 4, 4),
        "h.0.attn.masked_bias": (),
        "wte.weight": (9, 4),
        "h.0.attn.c_attn.bias": (4,),
    }
    assert read_structure(write(tmp_path, tensors, {"model_type": "gpt2"})).params == 36 + 4


def test_a_name_that_is_tensor_and_module_at_once_keeps_both():
    root = outline(assemble("m", facts(a=(2,), a__b=(3,)), {}))
    assert root.params == 5
    assert sum(c.params for c in root.children) == 5


def test_names_of_any_depth_and_odd_configurations_do_no_harm():
    deep = ".".join(["a"] * 5000)
    odd = {"model_type": 7, "architectures": [None], "num_hidden_layers": "x", "tie_word_embeddings": "yes"}
    tensors = [TensorFact(deep, "float32", (1,), 1, 4, "m"), TensorFact("..", "float32", (1,), 1, 4, "m")]
    assert outline(assemble("m", tensors, odd)).params == 2


def test_shapes_name_equal_ones_together():
    tensors = facts(a__q_proj__weight=(8, 8), a__o_proj__weight=(8, 8), a__v_proj__weight=(4, 8), a__q_proj__bias=(8,))
    assert shapes(tuple(tensors)) == "q,o 8×8  v 4×8"


@pytest.mark.parametrize(
    ("numbers", "text"), [("0 1 2", "0-2"), ("0 2 3 7", "0,2-3,7"), ("0 2 4 6 8", "0,2,..8"), ("5", "5")]
)
def test_span(numbers, text):
    assert span(numbers.split()) == text


def test_reading_headers_imports_neither_torch_nor_numpy(tmp_path):
    write(tmp_path, {"model.embed_tokens.weight": (50, 8)}, LLAMA)
    code = (
        "import sys; from pathlib import Path; from llmkit.inspection.outline import outline\n"
        "from llmkit.inspection.structure import read_structure\n"
        f"outline(read_structure(Path({str(tmp_path)!r})))\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys(), 'too much was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cut_file_is_refused(tmp_path):
    write(tmp_path, {"w": (50, 8)}, LLAMA)
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-1])
    with pytest.raises(InputRefused, match="cut short"):
        read_structure(tmp_path)


SIZES = {"vocab_size": 97, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 40}


def stored(path, name, **settings):
    """The structure of a small model of that family, as its file tells it, and the model."""
    import torch

    from llmkit.checkpoint.hf_layout import write_model
    from llmkit.models.registry import load_family

    torch.manual_seed(0)
    family = load_family(name)
    model = family.build(family.config_class(**{**SIZES, **settings}))
    path.mkdir()
    write_model(path, model)
    return read_structure(path), model


def walk(node):
    for child in node.children:
        yield child
        yield from walk(child)


@pytest.mark.parametrize("name", family_names())
def test_a_familys_tree_counts_what_the_model_has(name, tmp_path):
    structure, model = stored(tmp_path / "m", name)
    unused = sum(t.params for t in structure.tensors if t.name in UNUSED.get(name, ()))
    assert structure.params - unused == sum(p.numel() for p in model.parameters())
    assert structure.facts.layers == 2
    assert structure.facts.heads == model.config.n_heads
    root = outline(structure)
    assert sum(n.params for n in root.children) == structure.params


# Stored because transformers stores them; no parameters of ours.
POSITIONS = tuple(f"model.{tower}.embed_positions.weight" for tower in ("encoder", "decoder"))
UNUSED = {"reformer": ("lm_head.bias",), "pegasus": POSITIONS}


def test_shared_blocks_are_said_to_be_shared(tmp_path):
    structure, _ = stored(tmp_path / "m", "albert", n_layers=6)
    assert [n.note for n in walk(outline(structure)) if "shared" in n.note] == ["shared by 6 layers"]
    structure, _ = stored(tmp_path / "own", "bert", n_layers=6)
    assert not [n.note for n in walk(outline(structure)) if "shared" in n.note]


@pytest.mark.parametrize(("name", "active"), [("mixtral", 2), ("switch_transformers", 1)])
def test_experts_are_counted_active_and_in_total(name, active, tmp_path):
    structure, model = stored(tmp_path / "m", name, n_experts=4)
    [idle] = {sum(p.numel() for n, p in model.named_parameters() if ".experts." in n) * (4 - active) // 4}
    assert structure.active_params == structure.params - idle < structure.params
    notes = {(n.name.rpartition(".")[2], n.count, n.note) for n in walk(outline(structure)) if "active" in n.note}
    assert notes == {("experts", 4, f"{active} active per token")}


def test_two_stacks_stand_in_the_order_of_data_flow_with_their_own_layers(tmp_path):
    structure, _ = stored(tmp_path / "m", "bart", n_decoder_layers=3, eos_id=2, pad_id=1, decoder_start_id=2)
    assert (structure.facts.layers, structure.facts.decoder_layers) == (2, 3)
    names = [n.name for n in outline(structure).children]
    assert names[:3] == ["shared", "encoder", "decoder"]
    [block] = [n for n in walk(outline(structure)) if n.count == 3]
    order = [n.name for n in block.children]
    assert order == [
        "self_attn", "self_attn_layer_norm", "encoder_attn", "encoder_attn_layer_norm", "fc1", "fc2",
        "final_layer_norm",
    ]  # fmt: skip


def test_layers_that_differ_are_grouped_by_kind_and_unlike_parts_join_their_block(tmp_path):
    structure, _ = stored(tmp_path / "m", "t5", n_layers=3)
    found = {n.name: n for n in walk(outline(structure))}
    assert found["block"].note == "2 kinds"
    assert found["1-2"].count == 2
    assert {"0.SelfAttention", "1.EncDecAttention", "2.DenseReluDense"} <= found.keys()
    assert "relative bias" in found["0.SelfAttention"].note
    assert "relative bias" not in found["1.EncDecAttention"].note


def test_a_discriminator_has_no_output_layer_over_the_vocabulary(tmp_path):
    structure, _ = stored(tmp_path / "m", "electra", head="replaced_token")
    assert structure.head_tied_to is None
