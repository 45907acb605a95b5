"""Programs that share a sequence: how many of them run at once, and how they wait for each other."""

import torch
import triton
import triton.language as tl


@triton.jit
def meet(counter, expected):
    """Wait until all programs of a sequence have come here, and see what they wrote before.

    ``expected``: how often they have by then. A number of 32 bits may overflow, but differences do not.
    """
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
    target = expected.to(tl.int32)
    while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") - target < 0:
        pass
    tl.debug_barrier()


def processors(device: torch.device) -> int:
    """Multiprocessors of a device; none in the interpreter, which runs programs one after another."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 0
