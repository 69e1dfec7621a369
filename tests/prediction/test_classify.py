import pytest
import torch

from llmkit.prediction.classify import Classifier


@pytest.fixture(scope="session")
def classifier(bert_directory, tmp_path_factory):
    from transformers import BertForSequenceClassification

    import llmkit

    directory = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    names = {0: "sad", 1: "glad", 2: "calm"}
    model = BertForSequenceClassification.from_pretrained(bert_directory, num_labels=3, id2label=names)
    model.save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((bert_directory / name).read_bytes())
    loaded = llmkit.load(directory, device="cpu")
    return Classifier(loaded.model, loaded.tokenizer), directory


@pytest.mark.parametrize(
    "texts", [["the cat sat", "a dog ran to the red house", ""], [("the cat", "a dog ran"), ("it", "saw it !")]]
)
def test_probabilities_equal_those_of_transformers(classifier, texts):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    ours, directory = classifier
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(directory),
        AutoTokenizer.from_pretrained(directory),
    )
    for text, answer in zip(texts, ours(texts), strict=True):
        inputs = tokenizer(*([text] if isinstance(text, str) else text), return_tensors="pt")
        with torch.no_grad():
            expected = model.eval()(**inputs).logits.softmax(-1)[0]
        assert answer.probs == pytest.approx(expected.tolist(), abs=1e-5)
        assert answer.labels == ("sad", "glad", "calm")
        assert answer.label == ("sad", "glad", "calm")[int(expected.argmax())]


def test_texts_that_do_not_fit_are_cut_and_marked(classifier):
    ours, _ = classifier
    long = "the cat sat on the mat . " * 10
    cut, whole = ours([long, "the cat"])
    assert cut.was_cut
    assert not whole.was_cut
    assert cut.probs == pytest.approx(ours([" ".join(long.split()[:22])])[0].probs, abs=1e-6)
