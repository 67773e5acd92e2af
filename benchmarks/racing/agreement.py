"""What PyTorch and jaxgen have to agree on before the clock starts."""

CHECK_STEPS = 3
# The first loss of both sides is the same sum in another order. Later ones are after steps of an
# optimizer that divides by the gradient's size, and so makes much of gradients near zero.
FIRST_TOLERANCE = 2e-5
LATER_TOLERANCE = 2e-3
SMALLEST_SCALE = 1e-2  # a Wasserstein loss is a small difference of larger numbers


def disagreement(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> list[str]:
    """What differs between the terms of the first steps; nothing where the sides agree.

    A term may be off by the tolerance times the largest term of its step.
    """
    problems = []
    for step, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        tolerance = LATER_TOLERANCE if step else FIRST_TOLERANCE
        scale = max(SMALLEST_SCALE, *(abs(value) for value in their.values()))
        problems += [
            f"step {step}: {name} is {our[name]} in jaxgen, {value} in PyTorch"
            for name, value in their.items()
            if not abs(our[name] - value) <= tolerance * scale
        ]
    return problems
