import pytest
import torch

from detrdistill.methods.feature_maps import FeatureMaps
from detrdistill.outputs import DetectorOutput
from detrdistill.schema.methods import FeatureMapsConfig as Config
from tests.support.factories import inputs_of, method_of, output_of, shape_like, targets_of

FEATURE = torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])
"""Two channels, one row of two pixels: (3, 4) and (0, 2)."""
NOTHING = [targets_of([], [])]


def output_with(feature: torch.Tensor) -> DetectorOutput:
    images = len(feature)
    return output_of(torch.zeros(1, images, 1, 1), torch.full((1, images, 1, 4), 0.5), neck=(feature,))


def method_for(teacher: torch.Tensor, student: torch.Tensor, **kwargs) -> FeatureMaps:
    shapes = shape_like(output_with(teacher)), shape_like(output_with(student))
    return method_of("feature_maps", *shapes, weight=1.0, **kwargs)


def loss_of(method: FeatureMaps, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    return method(inputs_of(output_with(student), output_with(teacher), NOTHING))["feature_maps.features"]


def with_identity_generators(method: FeatureMaps) -> FeatureMaps:
    """Each convolution gives what it is given."""
    assert method.generators is not None
    for convolution in method.generators.modules():
        if isinstance(convolution, torch.nn.Conv2d):
            torch.nn.init.dirac_(convolution.weight)
            torch.nn.init.zeros_(convolution.bias)
    return method


def test_fitnet_is_the_mean_squared_error():
    student = torch.zeros_like(FEATURE)
    method = method_for(FEATURE, student)
    assert loss_of(method, FEATURE, student).item() == pytest.approx((9 + 16 + 4) / 4)


def test_equal_features_cost_nothing():
    """MGD too, with nothing hidden, a generator that changes nothing, and features its ReLU lets through."""
    assert loss_of(method_for(FEATURE, FEATURE), FEATURE, FEATURE).item() == 0
    method = with_identity_generators(method_for(FEATURE, FEATURE, form="mgd", mask_ratio=0.0))
    assert loss_of(method, FEATURE, FEATURE).item() == 0


def test_hidden_cells_cost_the_teachers_energy():
    """Whole cells are hidden: 25 for (3, 4), 4 for (0, 2), summed, not averaged over cells or channels."""
    method = with_identity_generators(method_for(FEATURE, FEATURE, form="mgd", mask_ratio=0.65))
    seen = set()
    for seed in range(50):
        torch.manual_seed(seed)
        first, second = (torch.rand(1, 1, 1, 2) < 0.65).flatten().tolist()
        torch.manual_seed(seed)
        loss = loss_of(method, FEATURE, FEATURE).item()
        assert loss == pytest.approx(25 * first + 4 * second)
        seen.add((first, second))
    assert len(seen) == 4


def test_the_generators_relu_lets_no_negative_feature_through():
    method = with_identity_generators(method_for(FEATURE, FEATURE, form="mgd", mask_ratio=0.0))
    assert loss_of(method, -FEATURE, -FEATURE).item() == pytest.approx(9 + 16 + 4)


def test_mgd_is_averaged_over_images():
    method = with_identity_generators(method_for(FEATURE, FEATURE, form="mgd", mask_ratio=0.0))
    both = torch.cat([FEATURE, FEATURE])
    student = torch.cat([torch.zeros_like(FEATURE), FEATURE])
    assert loss_of(method, both, student).item() == pytest.approx(29 / 2)


def test_the_share_of_hidden_cells():
    method = method_for(FEATURE, FEATURE, form="mgd", mask_ratio=0.65)
    torch.manual_seed(0)
    shown = method._masked(torch.ones(4, 3, 100, 100))
    assert float(shown.mean()) == pytest.approx(0.35, abs=0.01)
    assert torch.equal(shown[:, 0], shown[:, 2])


@pytest.mark.parametrize("form", ["fitnet", "mgd"])
def test_gradients_reach_the_student_the_projection_and_the_generator(form: str):
    student = torch.randn(1, 3, 1, 2, requires_grad=True)
    method = method_for(FEATURE, student, form=form, mask_ratio=0.2)
    torch.manual_seed(0)
    loss_of(method, FEATURE, student).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert set(method.weights()) == {"feature_maps.features"}


def test_the_weight_goes_with_the_form():
    assert Config().weight == 1
    assert Config.model_validate({"form": "mgd"}).weight == 2e-5
    assert Config.model_validate({"form": "mgd", "weight": 3}).weight == 3
