from llmkit.render.loss_curve import LossCurve


def test_a_run_of_any_length_keeps_few_points_over_all_of_it():
    curve = LossCurve()
    for step in range(1, 100_001):
        curve.add(step, 1 / step)
        if step % 10 == 0:
            curve.score(step, 2 / step)
    assert 390 < len(curve.train) <= 801
    assert len(curve.validation) <= 801
    assert curve.train[0][0] < 140
    assert curve.train[-1][0] > 99_700
    assert curve.validation[-1] == (100_000, 2 / 100_000)
    steps = [step for step, _ in curve.train]
    assert steps == sorted(steps)


def test_a_loss_that_is_no_number_leaves_a_gap():
    curve = LossCurve()
    for step in range(1, 30):
        curve.add(step, float("nan") if step == 7 else 3.0 - step / 30)
    assert len(curve.lines(40, 6, colored=True)) == 8
