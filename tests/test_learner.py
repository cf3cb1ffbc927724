"""The Learner: its loop, its optimizer and layer groups, its fits, its files."""

import io
import math
import tokenize
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import steppers
from steppers.train import learner as learner_file
from steppers.train.learner import Learner


def batches(count, seed=0, size=8):
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, 4, generator=made)
    return [(one, one.sum(1).gt(0).long()) for one in x]


def data(train=10, valid=2):
    return SimpleNamespace(train=batches(train), valid=batches(valid, seed=1))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def halves(model):
    return [model[:2], model[2:]]


def make(**options):
    options = {"lr": 1e-2, "default_cbs": False, **options}
    return Learner(net(), options.pop("dls", None) or data(), **options)


class Rates:
    """Notes a hyper of every group before each training batch's step."""

    order = 100

    def __init__(self, read=lambda group: group["lr"]):
        self.read, self.seen = read, []

    def before_batch(self, learn):
        if learn.training:
            self.seen.append([self.read(group) for group in learn.opt.param_groups])


def test_the_loop_has_under_fifty_lines_of_code():
    source = Path(learner_file.__file__).read_text(encoding="utf-8")
    lines = source.splitlines()
    begin = next(i for i, line in enumerate(lines) if "# --- the loop" in line)
    end = next(i for i, line in enumerate(lines) if i > begin and "# ---" in line)
    body = "if True:\n" + "\n".join(lines[begin:end]) + "\n"
    code = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(body).readline)
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT,
                              tokenize.DEDENT, tokenize.STRING, tokenize.ENDMARKER)
    }  # fmt: skip
    assert 30 < len(code) - 1 < 50


def test_it_trains_as_a_loop_written_by_hand():
    learn = make(opt_func=torch.optim.SGD, lr=0.1)
    learn.fit(3)
    model, dls = net(), data()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        model.train()
        for x, y in dls.train:
            nn.functional.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
    for ours, hand in zip(
        learn.model.state_dict().values(), model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, hand)


@pytest.mark.parametrize(
    "opt_func",
    [None, torch.optim.Adam, steppers.LAMB, steppers.ScheduleFreeAdamW,
     lambda params, lr: steppers.SGD(params, lr, momentum=0.9)],
)  # fmt: skip
def test_any_optimizer_lowers_the_loss(opt_func):
    learn = make(opt_func=opt_func, default_cbs=True)
    before = learn.validate()["loss"]
    learn.fit(8)
    assert learn.validate()["loss"] < before


def test_a_built_optimizer_is_taken_as_it_is():
    model = net()
    opt = torch.optim.SGD([{"params": model[0].parameters()},
                           {"params": model[3].parameters()}], lr=0.5)  # fmt: skip
    learn = Learner(model, data(), opt_func=opt, default_cbs=False)
    learn.fit(1, lr=[0.1, 0.2])
    assert learn.opt is opt and [g["lr"] for g in opt.param_groups] == [0.1, 0.2]


def test_an_optimizer_of_another_model_is_refused():
    with pytest.raises(ValueError, match="holds no parameter of this Sequential"):
        Learner(net(), data(), opt_func=torch.optim.SGD(nn.Linear(1, 1).parameters())).fit(1)


def test_norms_and_biases_do_not_decay_unless_told():
    # one step of gradient 0: only decay moves a weight
    def moved(**options):
        learn = make(opt_func=steppers.SGD, lr=0.1, wd=1.0, **options)
        before = {n: p.detach().clone() for n, p in learn.model.named_parameters()}
        learn.ready()
        for p in learn.model.parameters():
            p.grad = torch.zeros_like(p)
        learn.opt.step()
        return {n: not torch.equal(p, before[n]) for n, p in learn.model.named_parameters()}

    assert {n for n, yes in moved().items() if yes} == {"0.weight", "3.weight"}
    decaying = {n for n, yes in moved(wd_bn_bias=True).items() if yes}
    assert {"0.weight", "0.bias", "1.weight", "3.weight", "3.bias"} <= decaying


def fake_steps(learn, count=5):
    """Steps with every gradient 1, as SYSTEMS 8 has them."""
    for _ in range(count):
        for p in learn.model.parameters():
            p.grad = torch.ones_like(p) if p.requires_grad else None
        learn.opt.step()


def test_wd_bn_bias_figures():
    # SGD of wd 1 and lr 1e-2: after 5 steps of gradient 1 what does not decay moved by exactly -.05
    learn = make(opt_func=steppers.SGD, lr=1e-2, wd=1.0)
    before = {n: p.detach().clone() for n, p in learn.model.named_parameters()}
    learn.ready()
    fake_steps(learn)
    for name, p in learn.model.named_parameters():
        plain = torch.allclose(p, before[name] - 0.05, atol=1e-6)
        assert plain == (name not in ("0.weight", "3.weight")), name


@pytest.mark.parametrize("train_bn", [True, False])
def test_frozen_layers_stay_and_their_norms_train(train_bn):
    learn = make(opt_func=steppers.SGD, lr=1e-2, wd=0.0, splitter=halves, train_bn=train_bn)
    before = {n: p.detach().clone() for n, p in learn.model.named_parameters()}
    learn.freeze()
    learn.ready()
    fake_steps(learn)
    moved = {n for n, p in learn.model.named_parameters() if not torch.equal(p, before[n])}
    norm = {"1.weight", "1.bias"} if train_bn else set()
    assert moved == {"3.weight", "3.bias"} | norm
    for name in moved:
        torch.testing.assert_close(dict(learn.model.named_parameters())[name], before[name] - 0.05)
    learn.unfreeze()
    before = {n: p.detach().clone() for n, p in learn.model.named_parameters()}
    fake_steps(learn)
    for name, p in learn.model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] - 0.05)


def test_a_bad_decay_leaves_the_rate_alone():
    learn = make(opt_func=steppers.SGD, lr=0.1)
    learn.ready()
    with pytest.raises(ValueError, match="weight_decay must be >= 0"):
        learn.fit(1, lr=0.5, wd=-1.0)
    assert {g["lr"] for g in learn.opt.param_groups} == {0.1}


def test_one_cycle_lowers_the_loss():
    learn = make(default_cbs=True, progress="silent")
    learn.fit_one_cycle(2, 1e-2)
    losses = learn.recorder.losses
    assert sum(losses[-5:]) < sum(losses[:5])


def test_freezing_drops_the_optimizers_state():
    learn = make(splitter=halves)
    learn.fit(1)
    assert learn.opt.state
    learn.freeze_to(1)
    assert not learn.opt.state
    learn.fit(1)


@pytest.mark.parametrize(
    ("n", "error", "words"),
    [(3, ValueError, "got 3, but there are 2 layer groups"),
     (-3, ValueError, "got -3"), (1.0, TypeError, "whole number, got 1.0")],
)  # fmt: skip
def test_freezing_beyond_the_groups_is_an_error(n, error, words):
    with pytest.raises(error, match=words):
        make(splitter=halves).freeze_to(n)


def test_freezing_one_group_is_an_error():
    with pytest.raises(ValueError, match="only 1 layer group; give the Learner a splitter"):
        make().freeze()


@pytest.mark.parametrize(
    ("splitter", "words"),
    [(lambda m: [m[:2], m], "has '0.weight' twice"),
     (lambda m: [m[:1]], "leaves out '1.weight' and 3 more")],
)  # fmt: skip
def test_a_splitter_takes_each_parameter_once(splitter, words):
    with pytest.raises(ValueError, match=words):
        make(splitter=splitter).fit(1)


def test_a_model_without_trainable_parameters_is_an_error():
    with pytest.raises(ValueError, match="ReLU has no trainable parameter"):
        Learner(nn.ReLU(), data(), default_cbs=False).fit(1)


def test_rates_are_one_a_layer_group():
    learn = make(splitter=halves, lr=slice(1e-4, 1e-2))
    learn.fit(1)
    # each layer group has a parameter group that decays and one that does not
    assert [g["lr"] for g in learn.opt.param_groups] == [1e-4, 1e-4, 1e-2, 1e-2]
    learn.fit(1, lr=[1e-3, 2e-3])
    assert [g["lr"] for g in learn.opt.param_groups] == [1e-3, 1e-3, 2e-3, 2e-3]
    with pytest.raises(ValueError, match="got 3 values for 2 groups"):
        learn.fit(1, lr=[1, 2, 3])


def test_the_optimizer_is_kept_from_fit_to_fit():
    learn = make()
    learn.fit(1)
    kept = learn.opt
    learn.fit(1)
    assert learn.opt is kept
    learn.fit(1, reset_opt=True)
    assert learn.opt is not kept


def cos(start, end, share):
    return start + (end - start) * (1 - math.cos(math.pi * share)) / 2


def test_one_cycle_goes_as_its_formula_says():
    # SYSTEMS 8: lr 1e-2, 2 epochs of 10 batches: combined_cos at k / 20
    learn, rates = make(opt_func=steppers.AdamW), Rates()
    moms = Rates(lambda group: group["betas"][0])
    learn.fit_one_cycle(2, 1e-2, cbs=[rates, moms])
    for k, (lr, mom) in enumerate(zip(rates.seen, moms.seen, strict=True)):
        at = k / 20
        if at < 0.25:
            expected = cos(1e-2 / 25, 1e-2, at / 0.25), cos(0.95, 0.85, at / 0.25)
        else:
            share = (at - 0.25) / 0.75
            expected = cos(1e-2, 1e-2 / 1e5, share), cos(0.85, 0.95, share)
        assert lr == pytest.approx([expected[0]] * 2) and mom == pytest.approx([expected[1]] * 2)


def test_one_cycle_leaves_an_optimizer_without_momentum_without():
    learn = make(opt_func=torch.optim.SGD)
    learn.fit_one_cycle(1, 1e-2)
    assert {g["momentum"] for g in learn.opt.param_groups} == {0}
    with_it = make(opt_func=lambda ps, lr: torch.optim.SGD(ps, lr, momentum=0.9))
    with_it.fit_one_cycle(1, 1e-2)
    assert 0.85 < with_it.opt.param_groups[0]["momentum"] < 0.95


def test_one_cycle_with_discriminative_rates():
    learn, rates = make(splitter=halves), Rates()
    learn.fit_one_cycle(1, slice(1e-3, 1e-2), cbs=rates)
    for low, _, high, _ in rates.seen:
        assert high == pytest.approx(10 * low)


def test_flat_cos_is_flat_for_three_quarters():
    learn, rates = make(), Rates()
    learn.fit_flat_cos(2, 1e-2, cbs=rates)
    for k, lr in enumerate(rates.seen):
        share = max(0.0, (k / 20 - 0.75) / 0.25)
        assert lr == pytest.approx([cos(1e-2, 1e-7, share)] * 2)


def test_sgdr_has_seven_epochs_in_three_cycles():
    # SYSTEMS 8: fit_sgdr(3, 1) is 7 epochs, its cycles begin at epochs 0, 1, 3
    learn, rates = make(), Rates()
    learn.fit_sgdr(3, 1, 1e-2, cbs=rates)
    assert len(rates.seen) == 70
    for begin, length in ((0, 10), (10, 20), (30, 40)):
        for k in range(length):
            assert rates.seen[begin + k] == pytest.approx([cos(1e-2, 0, k / length)] * 2)


def test_sgdr_with_equal_cycles_and_with_bad_counts():
    learn, rates = make(), Rates()
    learn.fit_sgdr(2, 1, 1e-2, cycle_mult=1, cbs=rates)
    assert len(rates.seen) == 20
    with pytest.raises(ValueError, match="cycle_mult must be a whole number from 1 on, got 0"):
        learn.fit_sgdr(2, 1, cycle_mult=0)


def test_fine_tuning_trains_the_head_and_then_everything():
    learn, rates = make(splitter=halves), Rates()
    first = learn.model[0].weight.detach().clone()

    class Watch:
        def after_epoch(self, learn):
            if learn.training:
                same.append(torch.equal(learn.model[0].weight, first))

    same = []
    learn.fine_tune(2, 1e-2, cbs=[rates, Watch()])
    assert same == [True, False, False]
    # the head's peaks: base_lr frozen (99 % of 10 batches: the last is 9/9.9), base_lr / 2 then
    assert max(r[-1] for r in rates.seen[:10]) == pytest.approx(cos(1e-2 / 25, 1e-2, 0.9 / 0.99))
    assert max(r[-1] for r in rates.seen[10:]) == pytest.approx(5e-3, rel=1e-3)
    assert max(r[0] for r in rates.seen[10:]) == pytest.approx(5e-5, rel=1e-3)


def test_validation_moves_nothing_and_gives_the_mean_loss():
    learn = make(default_cbs=True)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    scores = learn.validate()
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
    model = net().eval()
    losses = [nn.functional.cross_entropy(model(x), y).item() for x, y in data().valid]
    assert scores["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-6)


def test_predictions_are_in_evaluation_mode_and_the_mode_is_put_back():
    learn = make(default_cbs=True)
    learn.fit(1)
    learn.model.train()
    x = batches(1)[0][0]
    one = learn.predict(x)
    assert learn.model.training and not one.requires_grad
    assert torch.equal(one, learn.predict(x))
    preds, targets = learn.get_preds()
    assert preds.shape == (16, 2) and targets.shape == (16,)


def test_without_validation_data_training_goes_on_and_validation_is_an_error():
    learn = make(dls=SimpleNamespace(train=batches(2), valid=None), default_cbs=True)
    learn.fit(1)
    with pytest.raises(ValueError, match="no validation data; give a loader"):
        learn.validate()


@pytest.mark.parametrize("with_opt", [True, False])
def test_what_was_saved_is_loaded(tmp_path, with_opt):
    one, two = make(), make()
    one.fit(1)
    one.save(tmp_path / "deep" / "one.pt", with_opt=with_opt)
    two.load(tmp_path / "deep" / "one.pt", with_opt=with_opt)
    for a, b in zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert bool(two.opt.state) == with_opt
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["one.pt"]


def test_a_file_of_another_model_or_optimizer_changes_nothing(tmp_path):
    one = make()
    one.fit(1)
    one.save(tmp_path / "one.pt")
    wider = Learner(nn.Sequential(nn.Linear(4, 9)), data(), default_cbs=False)
    other = make(opt_func=steppers.Lion)
    split = make(splitter=halves)
    for learn, words in (
        (wider, "has no '0.bias'|of another model"),
        (other, "is of AdamW, the optimizer is Lion"),
        (split, "has groups of"),
    ):
        before = {k: v.clone() for k, v in learn.model.state_dict().items()}
        with pytest.raises(ValueError, match=words):
            learn.load(tmp_path / "one.pt")
        assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
        assert not learn.opt.state


def test_a_wrapper_of_the_optimizer_may_take_its_place():
    class Counted(torch.optim.SGD):
        steps = 0

        def step(self, closure=None):
            Counted.steps += 1
            return super().step(closure)

    learn = make(opt_func=torch.optim.SGD)
    learn.opt = Counted(learn.opt.param_groups, lr=0.1)
    learn.fit(1)
    assert Counted.steps == 10 and isinstance(learn.opt, Counted)
