from __future__ import annotations

import torch

from robustnb.models import build, parameter_count


def test_the_smooth_network_has_the_paper_s_number_of_weights():
    net = build("tanh_cnn", generator=torch.Generator().manual_seed(0))
    assert parameter_count(net) == 2616
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_same_seed_gives_the_same_network():
    one, other = (build("tanh_cnn", generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(map(torch.equal, one.parameters(), other.parameters()))
