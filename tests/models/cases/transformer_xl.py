"""Transformer-XL with uncomfortable settings. transformers has none any more, so its oracle is written here, from the
paper (Dai et al. 2019, section 3), with explicit loops over queries and keys instead of the shift; in its weights'
dtype, so that the tests' float64 copy tells what float32 is worth."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.activations import ACT2FN


class Config:
    """What config.json holds."""

    def __init__(self, **settings):
        defaults = {"d_head": settings["d_model"] // settings["n_head"], "mem_len": 150, "same_length": False}
        defaults |= {"clamp_len": 0, "share_biases": False, "activation_function": "relu", "layer_norm_epsilon": 1e-5}
        self.settings = {**defaults, "tie_word_embeddings": True, "num_labels": 2, **settings}

    def __getattr__(self, name):
        try:
            return self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError(name) from None


class Attend(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        width = c.n_head * c.d_head
        self.q, self.k, self.v, self.r = (nn.Linear(c.d_model, width, bias=False) for _ in range(4))
        self.o = nn.Linear(width, c.d_model, bias=False)
        self.layer_norm = nn.LayerNorm(c.d_model, eps=c.layer_norm_epsilon)
        if not c.share_biases:
            self.content_bias, self.position_bias = biases(c)


def biases(c):
    return [nn.Parameter(torch.zeros(c.n_head, c.d_head)) for _ in range(2)]


class Forward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.up, self.down = nn.Linear(c.d_model, c.d_inner), nn.Linear(c.d_inner, c.d_model)
        self.layer_norm = nn.LayerNorm(c.d_model, eps=c.layer_norm_epsilon)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attn, self.ff = Attend(c), Forward(c)


class TransformerXLModel(nn.Module):
    config_class = Config

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.word_emb = nn.Embedding(c.vocab_size, c.d_model)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.n_layer))
        if c.share_biases:
            self.content_bias, self.position_bias = biases(c)

    def forward(self, input_ids, attention_mask=None, mems=None, output_attentions=False):
        """mems: what each layer read before this segment, (batch, any, d_model)."""
        c = self.config
        x = nn.functional.embedding(input_ids, self.word_emb.weight) * c.d_model**0.5
        mems = mems or [x[:, :0]] * c.n_layer
        attentions, remembered = [], []
        for layer, mem in zip(self.layers, mems, strict=True):
            read = torch.cat([mem, x], 1)
            remembered.append(read[:, -c.mem_len :])
            x, weights = self.layer(layer, x, read, attention_mask)
            attentions.append(weights)
        return {"last_hidden_state": x, "mems": remembered, "attentions": tuple(attentions)}

    def layer(self, layer, x, read, attention_mask):
        c, attn, ff = self.config, layer.attn, layer.ff
        batch, queries, keys = x.shape[0], x.shape[1], read.shape[1]
        shared = self if c.share_biases else attn
        u, v = shared.content_bias, shared.position_bias

        def heads(linear, t):
            return (t @ linear.weight.T).view(*t.shape[:-1], c.n_head, c.d_head)

        q, k, values = heads(attn.q, x), heads(attn.k, read), heads(attn.v, read)
        scores = x.new_full((batch, c.n_head, queries, keys), -torch.inf)
        for i in range(queries):
            at = keys - queries + i
            for j in range(at + 1):
                if c.same_length and at - j >= c.mem_len:
                    continue
                distance = min(at - j, c.clamp_len) if c.clamp_len else at - j
                r = heads(attn.r, sinusoid(distance, c.d_model).to(x.dtype))
                content = ((q[:, i] + u) * k[:, j]).sum(-1)
                position = ((q[:, i] + v) * r).sum(-1)
                scores[:, :, i, j] = (content + position) / c.d_head**0.5
        if attention_mask is not None:
            hidden = (attention_mask[:, None, None, -keys:] == 0).expand_as(scores)
            only = (hidden | scores.isinf()).all(-1, keepdim=True)  # of padding, whose scores mean nothing
            scores = torch.where(only, 0.0, scores.masked_fill(hidden, -torch.inf))
        weights = scores.softmax(-1)
        gathered = torch.einsum("bhij,bjhd->bihd", weights, values).flatten(2)
        x = norm(attn.layer_norm, x + gathered @ attn.o.weight.T)
        inner = ACT2FN[c.activation_function](x @ ff.up.weight.T + ff.up.bias)
        return norm(ff.layer_norm, x + inner @ ff.down.weight.T + ff.down.bias), weights

    @classmethod
    def from_pretrained(cls, folder, *, attn_implementation=None, output_loading_info=False):
        stored = json.loads((Path(folder) / "config.json").read_text())
        if "id2label" in stored:
            stored["num_labels"] = len(stored["id2label"])
        model = cls(Config(**stored))
        missing, unexpected = model.load_state_dict(load_file(Path(folder) / "model.safetensors"), strict=False)
        missing = [n for n in missing if not (n == "lm_head.weight" and model.config.tie_word_embeddings)]
        return (model, {"missing_keys": missing, "unexpected_keys": unexpected}) if output_loading_info else model

    def save_pretrained(self, folder):
        name = type(self).__name__
        config = {**self.config.settings, "model_type": "transformer-xl", "architectures": [name]}
        (Path(folder) / "config.json").write_text(json.dumps(config))
        tensors = {n: p.detach().clone() for n, p in self.named_parameters()}
        save_file(tensors, Path(folder) / "model.safetensors")


class Headed(TransformerXLModel):
    def __init__(self, config):
        nn.Module.__init__(self)
        self.config = config
        self.transformer = TransformerXLModel(config)
        self.make_head(config)

    def forward(self, input_ids, attention_mask=None, mems=None, output_attentions=False):
        output = self.transformer(input_ids, attention_mask, mems)
        return output | {"logits": self.decide(output["last_hidden_state"], input_ids)}


class TransformerXLLMHeadModel(Headed):
    def make_head(self, c):
        self.lm_head = nn.Linear(c.d_model, c.vocab_size)
        if c.tie_word_embeddings:
            self.lm_head.weight = self.transformer.word_emb.weight

    def decide(self, hidden, ids):
        return hidden @ self.lm_head.weight.T + self.lm_head.bias


class TransformerXLForSequenceClassification(Headed):
    def make_head(self, c):
        self.score = nn.Linear(c.d_model, c.num_labels, bias=False)

    def decide(self, hidden, ids):
        places = torch.arange(ids.shape[1])
        last = torch.stack([places[row != self.config.pad_token_id].max() for row in ids])
        return hidden[torch.arange(len(ids)), last] @ self.score.weight.T


def sinusoid(distance, d_model):
    frequencies = 10000.0 ** (-torch.arange(0, d_model, 2).double() / d_model)
    return torch.cat([(distance * frequencies).sin(), (distance * frequencies).cos()])


def norm(module, x):
    return nn.functional.layer_norm(x, x.shape[-1:], module.weight, module.bias, module.eps)


BASE = {"vocab_size": 53, "d_model": 24, "n_layer": 2, "n_head": 3, "d_inner": 37, "mem_len": 20}

CASES = {
    "plain": (TransformerXLLMHeadModel, BASE),
    "clamped": (TransformerXLLMHeadModel, BASE | {"clamp_len": 4, "n_layer": 3, "layer_norm_epsilon": 1e-3}),
    "shared biases": (TransformerXLLMHeadModel, BASE | {"share_biases": True}),
    "same length": (TransformerXLLMHeadModel, BASE | {"same_length": True, "mem_len": 5}),
    "wide heads": (TransformerXLLMHeadModel, BASE | {"d_head": 11, "n_head": 1, "activation_function": "gelu"}),
    "narrow heads": (TransformerXLLMHeadModel, BASE | {"d_head": 3, "n_head": 5, "d_model": 30, "n_layer": 1}),
    "untied": (TransformerXLLMHeadModel, BASE | {"tie_word_embeddings": False}),
    "long": (TransformerXLLMHeadModel, BASE | {"mem_len": 64}, {"seq": 40}),
    "classifier": (TransformerXLForSequenceClassification, BASE | {"num_labels": 4, "pad_token_id": 0}),
    "backbone": (TransformerXLModel, BASE | {"n_layer": 3}),
}
