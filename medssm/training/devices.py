"""Which device and number format a training takes, chosen without being asked."""

import torch

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
