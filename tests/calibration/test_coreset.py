"""The fast selection against plain greedy, scikit-learn and anomalib's KCenterGreedy."""

import numpy as np
import pytest
import torch
from anomalib.models.components.sampling import KCenterGreedy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from calibration.learning.coreset import covering_radius, select_coreset
from calibration.learning.distances import BLOCK_CENTERS
from runtime.errors import TrainingError

pytestmark = pytest.mark.slow

TOLERANCE = 1.02


def brute_force(points: np.ndarray, n_select: int, first: int) -> tuple[list[int], float]:
    """Plain greedy from the definition, with differences: indices and final radius."""
    points = points.astype(np.float64)
    chosen = [first]
    nearest = np.linalg.norm(points - points[first], axis=1)
    for _ in range(n_select - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen, float(nearest.max())


def assert_every_pick_is_farthest(
    points: np.ndarray, chosen: list[int], tolerance: float = TOLERANCE, given: int = 1
) -> None:
    """Each pick after the given ones must be as far as any patch was then, but for rounding."""
    points = points.astype(np.float64)
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    for step, pick in enumerate(chosen[1:], 1):
        assert step < given or nearest[pick] * tolerance >= nearest.max(), (
            f"pick {step} is not the farthest"
        )
        nearest = np.minimum(nearest, np.linalg.norm(points - points[pick], axis=1))


def sklearn_radius(points: np.ndarray, chosen: list[int]) -> float:
    # The brute-force searcher expands the square too; a ball tree takes differences.
    search = NearestNeighbors(n_neighbors=1, algorithm="ball_tree").fit(
        points[chosen].astype(np.float64)
    )
    return float(search.kneighbors(points.astype(np.float64))[0].max())


def clustered(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Skewed, clustered and far from the origin, like features after an activation."""
    generator = np.random.default_rng(seed)
    means = generator.normal(size=(7, dimensions)) * 3 + 5
    spread = generator.gamma(1.0, 0.5, size=dimensions)
    noise = generator.normal(size=(count, dimensions)) * spread
    return (means[generator.integers(7, size=count)] + noise).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    distinct=st.integers(1, 120),
    copies=st.integers(1, 4),
    dimensions=st.integers(1, 40),
    share=st.floats(0, 1),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e4, 1e15]),
    seed=st.integers(0, 2**16),
)
def test_radius_is_that_of_plain_greedy(distinct, copies, dimensions, share, scale, seed):
    points = np.repeat(clustered(distinct, dimensions, seed) * np.float32(scale), copies, axis=0)
    np.random.default_rng(seed).shuffle(points)
    n_select = 1 + round(share * (len(points) - 1))
    chosen = select_coreset(points, n_select, seed)
    assert chosen.dtype == np.intp
    assert chosen.shape == (n_select,)
    assert len(set(chosen.tolist())) == n_select
    _, radius = brute_force(points, n_select, int(chosen[0]))
    ours = sklearn_radius(points, chosen.tolist())
    assert ours <= TOLERANCE * radius + 1e-9 * scale
    assert covering_radius(points, chosen) == pytest.approx(ours, rel=1e-5, abs=1e-6 * scale)
    assert_every_pick_is_farthest(points, chosen.tolist()[: len(np.unique(points, axis=0))])


@settings(max_examples=40, deadline=None)
@given(
    side=st.integers(2, 9),
    dimensions=st.integers(1, 3),
    seed=st.integers(0, 2**16),
    share=st.floats(0, 0.9),
)
def test_ties_on_a_grid(side, dimensions, seed, share):
    grid = (
        np.stack(np.meshgrid(*[np.arange(side)] * dimensions), -1)
        .reshape(-1, dimensions)
        .astype(np.float32)
    )
    n_select = 1 + int(share * (len(grid) - 1))
    chosen = select_coreset(grid, n_select, seed).tolist()
    assert len(set(chosen)) == n_select
    assert_every_pick_is_farthest(grid, chosen)


def test_same_picks_as_plain_greedy_over_many_rounds_and_blocks():
    points = clustered(6_000, 16, 3)
    n_select = (
        BLOCK_CENTERS + 300
    )  # several blocks of centers, and candidates left out of each round
    chosen = select_coreset(points, n_select, 3)
    expected, radius = brute_force(points, n_select, int(chosen[0]))
    # Rounding may swap two patches whose distances are equal to six digits, no more than that.
    assert_every_pick_is_farthest(points, chosen.tolist(), tolerance=1 + 1e-5)
    assert len(set(expected) & set(chosen.tolist())) >= n_select - 2
    assert covering_radius(points, chosen) == pytest.approx(radius, rel=1e-3)


def test_radius_not_worse_than_anomalibs_selection():
    points = clustered(2_000, 152, 5)
    torch.manual_seed(0)
    theirs = np.array(KCenterGreedy(torch.from_numpy(points), 0.1).select_coreset_idxs())
    ours = select_coreset(points, len(theirs))
    assert covering_radius(points, ours) <= TOLERANCE * covering_radius(points, theirs)


def test_tight_clusters_far_apart_need_more_than_float32():
    """Within a cluster, distances are a hundred-thousandth of those between clusters."""
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(3, 8)) * 1000
    points = (
        centers[generator.integers(3, size=300)] + generator.normal(size=(300, 8)) * 0.01
    ).astype(np.float32)
    chosen = select_coreset(points, 40)
    assert_every_pick_is_farthest(points, chosen.tolist())
    ours = sklearn_radius(points, chosen.tolist())
    assert ours <= TOLERANCE * brute_force(points, 40, int(chosen[0]))[1]
    assert covering_radius(points, chosen) == pytest.approx(ours, rel=1e-4)


def test_a_shorter_selection_is_the_beginning_of_a_longer_one():
    points = clustered(3_000, 16, 1)
    assert np.array_equal(select_coreset(points, 50, 9), select_coreset(points, 700, 9)[:50])


def test_same_seed_same_indices_and_another_seed_another_start():
    points = clustered(2_000, 16, 1)
    assert np.array_equal(select_coreset(points, 200, 4), select_coreset(points, 200, 4))
    starts = {int(select_coreset(points, 1, seed)[0]) for seed in range(8)}
    assert len(starts) > 4


def test_all_patches_can_be_selected():
    points = clustered(1_500, 5, 2)
    chosen = select_coreset(points, 1_500)
    assert sorted(chosen.tolist()) == list(range(1_500))
    assert covering_radius(points, chosen) == 0.0


@pytest.mark.parametrize("value", [0.0, 0.1, -3e8])
def test_identical_patches_give_distinct_indices(value):
    points = np.full((2_500, 6), value, np.float32)
    chosen = select_coreset(points, 1_200)
    assert len(set(chosen.tolist())) == 1_200
    assert covering_radius(points, chosen) == 0.0


def test_features_are_left_alone_and_may_be_strided_or_of_another_float():
    points = clustered(500, 12, 6)
    before = points.copy()
    expected = select_coreset(points, 60)
    assert np.array_equal(points, before)
    assert np.array_equal(select_coreset(np.asfortranarray(points), 60), expected)
    wider = points.astype(np.float64)
    assert np.array_equal(select_coreset(wider, 60), expected)
    assert np.array_equal(wider, before)


def test_progress_rises_to_the_end():
    calls: list[tuple[int, int]] = []
    select_coreset(clustered(3_000, 8, 1), 900, on_progress=lambda *call: calls.append(call))
    assert calls[-1] == (900, 900)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_features_that_are_not_finite_are_refused(bad):
    points = clustered(100, 8, 0)
    points[57, 3] = bad
    with pytest.raises(TrainingError, match="NaN or infinity"):
        select_coreset(points, 10)
    with pytest.raises(TrainingError, match="NaN or infinity"):
        covering_radius(points, np.array([0]))


@pytest.mark.parametrize("n_select", [0, -1, 101])
def test_a_number_out_of_range_is_refused(n_select):
    with pytest.raises(TrainingError, match=f"between 1 and 100 .* found {n_select}"):
        select_coreset(clustered(100, 8, 0), n_select)


@pytest.mark.parametrize("shape", [(0, 8), (8, 0), (4, 4, 4), (5,)])
def test_another_shape_is_refused(shape):
    with pytest.raises(TrainingError, match="shape"):
        select_coreset(np.zeros(shape, np.float32), 1)


@pytest.mark.parametrize("selected", [[], [[0]], [-1], [100]])
def test_a_selection_of_other_features_is_refused(selected):
    with pytest.raises(TrainingError, match="between 0 and 99"):
        covering_radius(clustered(100, 8, 0), np.array(selected, dtype=np.intp))
