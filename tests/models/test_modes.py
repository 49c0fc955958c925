from __future__ import annotations

import pytest
from torch import nn

from robustnb.models import eval_mode, training


class Frozen(nn.Module):
    """A model that keeps its normalisation in evaluation mode whatever is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(2)

    def train(self, mode: bool = True):
        super().train(mode)
        self.bn.training = False
        return self


def flags(model):
    return [m.training for m in model.modules()]


@pytest.mark.parametrize(("mode", "inside"), [(eval_mode, False), (training, True)])
def test_every_module_gets_its_own_flag_back(mode, inside):
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()))
    model[1][0].eval()
    model[0].eval()
    before = flags(model)
    with mode(model):
        assert set(flags(model)) == {inside}
    assert flags(model) == before


def test_flags_come_back_after_an_error():
    model = nn.Sequential(nn.Dropout().eval(), nn.Dropout())
    before = flags(model)
    with pytest.raises(KeyError), eval_mode(model):
        raise KeyError
    assert flags(model) == before


def test_a_model_may_keep_layers_frozen_while_training():
    model = Frozen().eval()
    with training(model):
        assert flags(model) == [True, False]
    assert flags(model) == [False, False]


def test_blocks_nest():
    model = nn.Dropout()
    with eval_mode(model):
        with training(model):
            assert model.training
        assert not model.training
    assert model.training


def test_a_plain_function_has_no_mode():
    with eval_mode(lambda x: x), training(lambda x: x):
        pass
