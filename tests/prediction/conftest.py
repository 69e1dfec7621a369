"""A small random BERT as ours and as transformers', with the same weights and vocabulary."""

import pytest
import torch

# fmt: off
WORDS = [
    "the", "cat", "sat", "on", "mat", "a", "dog", "ran", "to", "red", "house", "and", "saw", "it", "!", ".", ",", "##s",
    "##ing", "walk",
]
# fmt: on


@pytest.fixture(scope="session")
def bert_directory(tmp_path_factory):
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    directory = tmp_path_factory.mktemp("bert")
    vocab = directory / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    tokenizer = BertTokenizerFast(vocab_file=str(vocab), vocab=str(vocab))
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=24,
        initializer_range=0.3,
    )
    BertForMaskedLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def bert(bert_directory):
    import llmkit

    return llmkit.load(bert_directory, device="cpu")
