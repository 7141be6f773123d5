"""Slurm's warning before a time limit (SIGUSR1): once all is saved, the job asks to run again."""

import signal
import subprocess

from lightning.fabric.plugins.environments import SLURMEnvironment

from medssm.core.log import say, warn


def requeue(received: int | None) -> bool:
    """Put the running Slurm job back into the queue, if that is what the signal was for.

    Send it with ``#SBATCH --signal=SIGUSR1@120`` and allow it with ``#SBATCH --requeue``.

    Args:
        received: The signal that stopped the training.

    Returns:
        Whether Slurm took the job back; not outside of Slurm, nor for another signal.
    """
    if received != getattr(signal, "SIGUSR1", None) or not SLURMEnvironment.detect():
        return False
    job = str(SLURMEnvironment.job_id())
    try:
        subprocess.run(
            ["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or error
        warn("scontrol requeue %s failed (%s); submit the same job again.", job, str(told).strip())
        return False
    say("Slurm runs job %s again; it goes on from here.", job)
    return True
