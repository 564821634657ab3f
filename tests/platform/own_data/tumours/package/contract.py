"""What a tumour looks like under the microscope, by the names that the laboratory uses."""

from typing import Annotated

from msgspec import Meta, field
from slipway import Contract, Row

Size = Annotated[float, Meta(ge=0, le=5000)]


class Tumour(Row):
    """Thirty measures of the nuclei of one sample."""

    sample: Annotated[int, Meta(ge=1)] = field(name="sample no.")
    mean_radius: Size = field(name="mean radius")
    mean_texture: Size = field(name="mean texture")
    mean_perimeter: Size = field(name="mean perimeter")
    mean_area: Size = field(name="mean area")
    mean_smoothness: Size = field(name="mean smoothness")
    mean_compactness: Size = field(name="mean compactness")
    mean_concavity: Size = field(name="mean concavity")
    mean_concave_points: Size = field(name="mean concave points")
    mean_symmetry: Size = field(name="mean symmetry")
    mean_fractal_dimension: Size = field(name="mean fractal dimension")
    radius_error: Size = field(name="radius error")
    texture_error: Size = field(name="texture error")
    perimeter_error: Size = field(name="perimeter error")
    area_error: Size = field(name="area error")
    smoothness_error: Size = field(name="smoothness error")
    compactness_error: Size = field(name="compactness error")
    concavity_error: Size = field(name="concavity error")
    concave_points_error: Size = field(name="concave points error")
    symmetry_error: Size = field(name="symmetry error")
    fractal_dimension_error: Size = field(name="fractal dimension error")
    worst_radius: Size = field(name="worst radius")
    worst_texture: Size = field(name="worst texture")
    worst_perimeter: Size = field(name="worst perimeter")
    worst_area: Size = field(name="worst area")
    worst_smoothness: Size = field(name="worst smoothness")
    worst_compactness: Size = field(name="worst compactness")
    worst_concavity: Size = field(name="worst concavity")
    worst_concave_points: Size = field(name="worst concave points")
    worst_symmetry: Size = field(name="worst symmetry")
    worst_fractal_dimension: Size = field(name="worst fractal dimension")


class Biopsy(Row):
    """What the laboratory finds."""

    target: Annotated[int, Meta(ge=0, le=1, description="1 is benign.")]


CONTRACT = Contract(row=Tumour, outcome=Biopsy, key=("sample no.",))
