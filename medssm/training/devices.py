"""Which device and number format a training takes, chosen without being asked."""

import ctypes
import sys

import torch

from medssm.core.log import warn
from medssm.training.config import Precision, TrainerConfig


def chosen_accelerator(config: TrainerConfig) -> str:
    """The accelerator in Lightning's words: cpu, gpu or mps."""
    if config.accelerator != "auto":
        return {"cuda": "gpu"}.get(config.accelerator, config.accelerator)
    if torch.cuda.is_available():
        return "gpu"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def chosen_precision(config: TrainerConfig, accelerator: str) -> Precision:
    """The number format: bfloat16 where the device computes in it, else float32 or float16."""
    if config.precision == "16-mixed" and accelerator == "cpu":
        warn(
            "trainer.precision=16-mixed: a CPU trains in bf16-mixed or 32-true; taking bf16-mixed."
        )
        return "bf16-mixed"
    if config.precision != "auto":
        return config.precision
    if accelerator == "gpu":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if accelerator == "cpu" and cpu_computes_bfloat16() else "32-true"


def cpu_computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; emulated, it would be slower."""
    capability = torch.backends.cpu.get_cpu_capability()
    if "AVX512" not in capability:
        return False
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


# mallopt's names in <malloc.h>: how much is given back, from which size on memory is mapped anew
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 512 * 2**20


def settle(config: TrainerConfig) -> None:
    """Give the process its threads and its memory habits, before anything is timed or trained."""
    if chosen_accelerator(config) == "cpu":
        keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed: a training step asks for the same sizes again and again.

    Without it a step on CPU meets tens of thousands of page faults.

    Returns:
        Whether this system's C library took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL("libc.so.6")
        settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD_BYTES))
        return all(library.mallopt(name, value) == 1 for name, value in settings)
    except (OSError, AttributeError):
        # another C library, such as musl
        return False
