from llmkit.training.evaluation import evaluate
from llmkit.training.objectives.staged import Staged


def test_the_last_steps_take_longer_examples_of_as_many_tokens(masked, made):
    short, long = masked(seq_len=24, batch_size=8), masked(seq_len=48, batch_size=4)
    staged = Staged(short, long, switch=80, batch_size=8, later_batch_size=4)
    assert staged.n_examples == short.n_examples
    before, after = staged.picks(72, 8), staged.picks(80, 8)
    assert (before.index == short.picks(72, 8).index).all()
    assert (after.index == long.picks(0, 4).index).all()
    assert (staged.picks(88, 8).index == long.picks(4, 4).index).all()
    assert made(staged, before).input_ids.shape[1] <= 24
    assert made(staged, after).n_examples == 4
    assert (made(staged, after).input_ids == made(long, long.picks(0, 4)).input_ids).all()


def test_validation_is_on_examples_as_long_as_those_of_the_last_steps(masked, documents, tiny_model):
    short, long = (masked(seq_len=n, batch_size=b, validation=documents) for n, b in ((12, 8), (48, 2)))
    model = tiny_model(causal=False).eval()
    staged = Staged(short, long, switch=80, batch_size=8, later_batch_size=2)
    assert evaluate(staged, model) == evaluate(long, model)
    assert evaluate(staged, model) != evaluate(short, model)
