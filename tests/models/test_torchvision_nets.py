from __future__ import annotations

import pytest
import torch

from robustnb.attacks import skip_gradient
from robustnb.errors import UsageError
from robustnb.models import parameter_count, small_image_net
from small_inputs import seeded


@pytest.mark.parametrize(
    ("name", "weights", "lost", "places"),
    [
        ("resnet18", 11_689_512, 512 + 1, 4),
        ("resnet34", 21_797_672, 512 + 1, 4),
        ("resnet50", 25_557_032, 2048 + 1, 4),
        ("densenet121", 7_978_856, 1024 + 1, 4),
    ],
)
def test_it_is_torchvisions_network_but_for_stem_and_head(name, weights, lost, places):
    net = small_image_net(name, in_channels=1, generator=seeded()).eval()
    # printed counts are for 1,000 classes and a 7 x 7 stem on three channels of 64 filters
    assert parameter_count(net) == weights - 990 * lost - 64 * (3 * 49 - 9)
    seen = []
    last = net.layer4 if name.startswith("resnet") else net.features
    last.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[-1]))
    assert net(torch.rand(2, 1, 32, 32, generator=seeded(1))).shape == (2, 10)
    assert seen == [places]


def test_weights_follow_the_generator_and_leave_the_global_state_alone():
    state = torch.get_rng_state()
    a, b, c = (small_image_net("resnet18", generator=seeded(s)) for s in (0, 0, 1))
    assert torch.equal(a.conv1.weight, b.conv1.weight)
    assert not torch.equal(a.conv1.weight, c.conv1.weight)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_the_skip_gradient_finds_its_junctions(name):
    net = small_image_net(name, generator=seeded()).eval()
    x = torch.rand(1, 3, 16, 16, generator=seeded(1)).requires_grad_()
    plain = torch.autograd.grad(net(x).sum(), x)[0]
    shrunk = torch.autograd.grad(skip_gradient(net, 0.5)(x).sum(), x)[0]
    assert not torch.allclose(plain, shrunk)


def test_another_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        small_image_net("resnt18")
    with pytest.raises(UsageError, match="ResNet or DenseNet of torchvision"):
        small_image_net("vgg16")
