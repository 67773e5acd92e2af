"""What PyTorch and jaxgen have to agree on before the clock starts."""

CHECK_STEPS = 3
# The first loss of both sides is the same sum in another order. Later ones are after steps of an
# optimizer that divides by the gradient's size, and so makes much of gradients near zero.
FIRST_TOLERANCE = 2e-5
LATER_TOLERANCE = 2e-3
# Products of numbers of 8 bits, against float32.
BF16_FIRST_TOLERANCE = 2e-2
BF16_LATER_TOLERANCE = 1e-1
SMALLEST_SCALE = 1e-2  # a Wasserstein loss is a small difference of larger numbers


def disagreement(
    ours: list[dict[str, float]], theirs: list[dict[str, float]], precision: str = "float32"
) -> list[str]:
    """What differs between the terms of the first steps; nothing where the sides agree.

    A term may be off by the tolerance times the largest term of its step.
    """
    first, later = FIRST_TOLERANCE, LATER_TOLERANCE
    if precision == "bf16":
        first, later = BF16_FIRST_TOLERANCE, BF16_LATER_TOLERANCE
    problems = []
    for step, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        tolerance = later if step else first
        scale = max(SMALLEST_SCALE, *(abs(value) for value in their.values()))
        problems += [
            f"step {step}: {name} is {our[name]} in jaxgen, {value} in PyTorch"
            for name, value in their.items()
            if not abs(our[name] - value) <= tolerance * scale
        ]
    return problems
