import pytest
import torch

from llmkit.errors import InputRefused
from llmkit.generation.decode import Decoder
from llmkit.generation.sampler import UniformStream, next_token
from llmkit.generation.settings import Sampling

HOT = Sampling(max_tokens=200, temperature=1.3, top_p=None, repetition_penalty=1.1)
GREEDY = Sampling(max_tokens=200, temperature=0)


def run(model, prompts, settings, *, steps, samples=None, **options):
    """Tokens of each row until all rows have `steps` of them."""
    decoder = Decoder(model.eval(), prompts, settings, samples=samples, **options)
    ids = [[] for _ in prompts]
    while decoder.rows:
        for drawn in decoder.step():
            ids[drawn.row].append(drawn.id)
        decoder.drop({row for row in decoder.rows if len(ids[row]) >= steps})
    return ids


@torch.no_grad()
def without_cache(model, prompt, settings, steps, sample=0):
    """The definition, written the slow way: the whole window through the model for every token."""
    context = model.config.max_seq_len
    history, start = list(prompt[-context:]), 0
    stream = UniformStream(settings.seed, sample)
    for _ in range(steps):
        if len(history) - start > context:
            start = len(history) - max(1, context // 2)
        logits = model.head(model.encode(torch.tensor([history[start:]]))[:, -1])
        uniform = torch.tensor([next(stream)]) if settings.temperature else None
        history.append(int(next_token(logits, torch.tensor([history]), uniform, settings)))
    return history[-steps:]


@pytest.mark.parametrize("settings", [GREEDY, HOT], ids=["greedy", "sampled"])
def test_stepping_on_the_cache_equals_the_full_pass(toy, settings):
    model = toy().eval()
    assert run(model, [[1, 2, 3]], settings, steps=20) == [without_cache(model, [1, 2, 3], settings, 20)]


@pytest.mark.parametrize("context", [1, 2, 3, 8])
def test_text_past_the_context_slides_by_half_and_says_so_once_per_slide(toy, context):
    model, notes = toy(context=context).eval(), []
    prompt = [1, 2, 3, 4, 5][:context]
    ids = run(model, [prompt], HOT, steps=20, notice=notes.append)
    assert ids == [without_cache(model, prompt, HOT, 20)]
    assert notes
    assert all("outgrew the context" in note for note in notes)


def test_a_prompt_longer_than_the_context_keeps_its_end_and_says_so(toy):
    model, notes = toy(context=8).eval(), []
    prompt = list(range(20))
    assert run(model, [prompt], GREEDY, steps=1, notice=notes.append) == run(model, [prompt[-8:]], GREEDY, steps=1)
    assert "20 tokens" in notes[0]
    assert "only its end" in notes[0]


def test_prompts_of_any_length_in_one_batch_give_what_each_gives_alone(toy):
    model = toy(context=16).eval()
    prompts = [[5], [1, 2, 3], [7, 7, 7, 7, 7, 7, 7, 7, 7], [4, 9]]
    together = run(model, prompts, HOT, steps=25, samples=[0, 3, 0, 1])
    alone = [run(model, [p], HOT, steps=25, samples=[s])[0] for p, s in zip(prompts, [0, 3, 0, 1], strict=True)]
    assert together == alone


def test_samples_of_one_prompt_differ_and_do_not_depend_on_how_many_there_are(toy):
    model = toy().eval()
    many = run(model, [[1, 2, 3]] * 5, HOT, steps=10)
    assert len({tuple(ids) for ids in many}) == 5
    assert run(model, [[1, 2, 3]] * 2, HOT, steps=10) == many[:2]


def test_samples_of_one_prompt_read_it_once(toy):
    model = toy().eval()
    run(model, [[1, 2, 3, 4, 5, 6]] * 4, HOT, steps=3)
    assert model.n_positions == 6 + 2 * 4


def test_a_dropped_row_leaves_the_batch_and_changes_nothing_for_the_others(toy):
    model = toy().eval()
    decoder = Decoder(model, [[1, 2], [3, 4], [5, 6]], HOT)
    ids = {0: [], 1: [], 2: []}
    for step in range(8):
        before = model.n_positions
        for drawn in decoder.step():
            ids[drawn.row].append(drawn.id)
        if step > 3:
            assert model.n_positions - before == 2
        if step == 3:
            decoder.drop({1})
    assert decoder.rows == [0, 2]
    assert [ids[0], ids[2]] == run(model, [[1, 2], [5, 6]], HOT, steps=8, samples=[0, 2])


def test_more_tokens_than_first_made_room_for_are_no_trouble(toy, monkeypatch):
    model = toy(context=8).eval()
    expected = run(model, [[1]], HOT, steps=50)
    monkeypatch.setattr("llmkit.generation.decode._ROOM", 2)
    assert run(model, [[1]], HOT, steps=50) == expected


def test_an_endless_max_tokens_costs_no_memory_in_advance(toy):
    run(toy(), [[1]], Sampling(max_tokens=10**12), steps=2)


@torch.no_grad()
def test_logprobs_are_those_of_the_model_before_penalty_temperature_and_filters(toy):
    model = toy().eval()
    decoder = Decoder(model, [[1, 2]], Sampling(temperature=0.5, top_k=3, repetition_penalty=1.5), with_logprobs=True)
    (drawn,) = decoder.step()
    expected = model.head(model.encode(torch.tensor([[1, 2]]))[:, -1]).log_softmax(-1)[0, drawn.id]
    assert drawn.logprob == pytest.approx(expected.item(), abs=1e-5)


def test_decoding_neither_reads_nor_changes_torch_randomness(toy):
    model = toy()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = run(model, [[1, 2]], HOT, steps=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert run(model, [[1, 2]], HOT, steps=5) == first


def test_weights_that_are_not_finite_are_reported_not_sampled(toy):
    model = toy()
    with torch.no_grad():
        model.out[0, 0] = float("nan")
    with pytest.raises(InputRefused, match="not finite"):
        run(model, [[1, 2]], HOT, steps=1)


def test_weights_that_break_later_in_the_text_are_reported_too(toy, monkeypatch):
    model = toy()
    head = model.head
    calls = iter([False, True])
    monkeypatch.setattr(model, "head", lambda hidden: head(hidden) * (float("nan") if next(calls) else 1.0))
    with pytest.raises(InputRefused, match="not finite"):
        run(model, [[1, 2]], HOT, steps=2)
