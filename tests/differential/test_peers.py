"""Our attacks beside those of torchattacks, foolbox and ART: same network, images and budget.

Who falls is listed in both directions. An attack without random draws has to fell everyone whom
the peer's fells; a random one, over its seeds, as many but for `LUCK` examples of 150.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torchattacks
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    FastGradientMethod,
    ProjectedGradientDescentPyTorch,
    SquareAttack,
)
from art.estimators.classification import PyTorchClassifier
from foolbox import PyTorchModel
from foolbox.attacks import L2PGD, LinfFastGradientAttack, LinfPGD
from foolbox.criteria import Misclassification
from torch import Tensor, nn

from robustnb import data
from robustnb.attacks import apgd, fab, fgsm, lp_distance, misclassified, pgd, square
from robustnb.models import build
from small_inputs import seeded

pytestmark = pytest.mark.filterwarnings("ignore")
EPS = {"linf": 0.1, "l2": 1.5}
ART_NORM = {"linf": np.inf, "l2": 2}
STEPS, QUERIES, LUCK = 20, 400, 2
Peer = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    """The peers draw from the global generators."""
    state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)
        yield
    np.random.set_state(state)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """A small network trained against PGD on real digits, some of which it holds."""
    images, labels = data.load("mnist_embedded", "train")
    x, generator = data.to_unit(images), seeded()
    model = build("light_cnn", width=8, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(150):
        rows = torch.randint(len(x), (100,), generator=generator)
        eps = EPS["linf"] * min(1.0, step / 75)
        x_adv = pgd(
            model, x[rows], labels[rows], eps=eps, step=eps / 3, steps=5, keep="last",
            generator=generator,
        )  # fmt: skip
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x_adv), labels[rows]).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    images, labels = data.load("mnist_embedded", "train", limit=150)
    return data.to_unit(images), labels


def art_estimator(net: nn.Module) -> PyTorchClassifier:
    return PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )


def from_art(attack: object) -> Peer:
    return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))  # type: ignore[attr-defined]


def from_foolbox(net: nn.Module, attack: object, eps: float) -> Peer:
    wrapped = PyTorchModel(net, bounds=(0, 1), device="cpu")
    return lambda x, y: attack.run(wrapped, x, Misclassification(y), epsilon=eps)  # type: ignore[attr-defined]


def fallen(
    net: nn.Module, images: Tensor, digits: tuple[Tensor, Tensor], norm: str, slack: float
) -> Tensor:
    """Who is misclassified by an image in ball and box; the peers' may exceed them by rounding."""
    x, y = digits
    size = lp_distance(images, x, norm).double()
    assert float(size.max()) <= EPS[norm] * (1 + slack)
    assert -slack <= float(images.min()) <= float(images.max()) <= 1 + slack
    return misclassified(net(images.detach()), y)


def compare(
    title: str, net: nn.Module, digits: tuple[Tensor, Tensor], norm: str, ours: Tensor,
    peers: dict[str, Peer],
) -> list[tuple[int, int]]:  # fmt: skip
    """Prints both directions; (fell to ours alone, fell to the peer alone) for each peer."""
    own, counts = fallen(net, ours, digits, norm, 0.0), []
    for name, peer in peers.items():
        other = fallen(net, peer(*digits).detach(), digits, norm, 1e-4)
        more, less = ((a & ~b).nonzero()[:, 0].tolist() for a, b in ((own, other), (other, own)))
        print(
            f"{title}, {norm}: {int(own.sum())} of {len(own)} fall to ours, {int(other.sum())} to "
            f"{name}; to ours alone {more}, to {name} alone {less}"
        )
        counts.append((len(more), len(less)))
    assert 0 < int(own.sum()) < len(own)  # or there is nothing to compare
    return counts


def test_one_step_gives_the_images_of_three_libraries(net, digits):
    x, y = digits
    eps = EPS["linf"]
    ours = fgsm(net, x, y, eps=eps)
    peers = {
        "torchattacks": torchattacks.FGSM(net, eps=eps),
        "foolbox": from_foolbox(net, LinfFastGradientAttack(), eps),
        "ART": from_art(FastGradientMethod(art_estimator(net), eps=eps, batch_size=150)),
    }
    counts = compare("FGSM", net, digits, "linf", ours, peers)
    assert counts == [(0, 0)] * 3
    for peer in peers.values():
        apart = (peer(x, y) - ours).abs() > 1e-5
        assert float(apart.double().mean()) < 1e-4  # gradients that are 0 but for rounding


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projected_gradients_from_the_image_fell_everyone_the_others_fell(net, digits, norm):
    x, y = digits
    eps, step, own = EPS[norm], EPS[norm] / 8, {"linf": LinfPGD, "l2": L2PGD}[norm]
    ours = pgd(net, x, y, eps=eps, step=step, steps=STEPS, norm=norm, start="zero")
    settings = {"eps": eps, "alpha": step, "steps": STEPS, "random_start": False}
    attack = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[norm]
    by_art = ProjectedGradientDescentPyTorch(
        art_estimator(net), norm=ART_NORM[norm], eps=eps, eps_step=step, max_iter=STEPS,
        num_random_init=0, batch_size=150, verbose=False,
    )  # fmt: skip
    by_foolbox = own(abs_stepsize=step, steps=STEPS, random_start=False)
    peers = {
        "torchattacks": attack(net, **settings),
        "foolbox": from_foolbox(net, by_foolbox, eps),
        "ART": from_art(by_art),
    }
    for _, less in compare("PGD", net, digits, norm, ours, peers):
        assert less == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_auto_pgd_is_as_strong_as_the_others(net, digits, norm, loss):
    x, y = digits
    ours = apgd(net, x, y, eps=EPS[norm], norm=norm, loss=loss, steps=STEPS)
    known = {"ce": "cross_entropy", "dlr": "difference_logits_ratio"}[loss]
    by_art = AutoProjectedGradientDescent(
        art_estimator(net), norm=ART_NORM[norm], eps=EPS[norm], eps_step=2 * EPS[norm],
        max_iter=STEPS, nb_random_init=1, batch_size=150, loss_type=known, verbose=False,
    )  # fmt: skip
    named = {"linf": "Linf", "l2": "L2"}[norm]
    peers = {
        "torchattacks": torchattacks.APGD(
            net, norm=named, eps=EPS[norm], steps=STEPS, loss=loss, seed=1
        ),
        "ART": from_art(by_art),
    }
    for more, less in compare(f"APGD-{loss.upper()}", net, digits, norm, ours, peers):
        assert less <= more + LUCK


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_an_image_in_the_ball_wherever_the_other_does(net, digits, norm):
    x, y = digits
    found = fab(net, x, y, steps=STEPS, norm=norm)
    inside = (found.size.double() <= EPS[norm]).reshape(-1, 1, 1, 1)
    ours = torch.where(inside, found.x_adv, x)
    named = {"linf": "Linf", "l2": "L2"}[norm]
    peer = torchattacks.FAB(
        net, norm=named, eps=EPS[norm], steps=STEPS, multi_targeted=True, n_classes=10, seed=1
    )

    def clipped(x: Tensor, y: Tensor) -> Tensor:
        """The peer's may lie outside the ball, where they prove nothing."""
        images = peer(x, y)
        inside = lp_distance(images, x, norm).double() <= EPS[norm] * (1 + 1e-4)
        return torch.where(inside.reshape(-1, 1, 1, 1), images, x)

    ((_, less),) = compare("FAB", net, digits, norm, ours, {"torchattacks": clipped})
    assert less == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_search_is_as_strong_as_the_others_over_four_seeds(net, digits, norm):
    x, y = digits
    by_art = SquareAttack(
        art_estimator(net), norm=ART_NORM[norm], eps=EPS[norm], max_iter=QUERIES, batch_size=150,
        verbose=False,
    )  # fmt: skip
    named, counts = {"linf": "Linf", "l2": "L2"}[norm], []
    for seed in range(4):
        ours = square(
            net, x, y, eps=EPS[norm], norm=norm, queries=QUERIES, generator=seeded(seed)
        )  # fmt: skip
        theirs = torchattacks.Square(
            net, norm=named, eps=EPS[norm], n_queries=QUERIES, seed=seed
        )  # fmt: skip
        peers = {"torchattacks": theirs, "ART": from_art(by_art)}
        counts.append(compare(f"Square, seed {seed}", net, digits, norm, ours, peers))
    for more, less in np.mean(counts, axis=0):
        assert less <= more + LUCK


def test_the_same_seed_fells_the_same_examples(net, digits):
    x, y = digits
    one, two = (
        square(net, x, y, eps=EPS["linf"], queries=50, generator=seeded(3)) for _ in range(2)
    )
    assert torch.equal(one, two)
