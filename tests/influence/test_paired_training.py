"""Adam with and without a point: torch's own Adam as the twin, and the point as the difference."""

from __future__ import annotations

import torch

from robustnb.influence import adam_steps, cross_entropy


def test_the_steps_are_those_of_torch(network_risk):
    found = adam_steps(network_risk, steps=5, lr=0.01, batch_size=8, seed=3)
    theta = network_risk.theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.01)
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        rows = torch.randint(network_risk.n, (8,), generator=generator)
        optimizer.zero_grad()
        outputs = network_risk.outputs(theta, network_risk.x[rows])
        loss = cross_entropy(outputs, network_risk.y[rows]).mean()
        (loss + network_risk.l2 / 2 * theta.square().sum()).backward()
        optimizer.step()
    torch.testing.assert_close(found, theta.detach())


def test_a_point_that_no_batch_holds_changes_nothing(network_risk):
    settings = {"steps": 3, "lr": 0.01, "batch_size": 2, "seed": 0}
    generator = torch.Generator().manual_seed(0)
    drawn = {int(i) for _ in range(3) for i in torch.randint(30, (2,), generator=generator)}
    absent = min(set(range(30)) - drawn)
    both = [adam_steps(network_risk, **settings, without=i) for i in (None, absent)]
    assert torch.equal(*both)
    assert not torch.equal(both[0], adam_steps(network_risk, **settings, without=min(drawn)))
