"""The table of networks: (B, C, *S) to logits (B, K, *S)."""

from medssm.core.registry import Table

NETWORKS = Table(
    "network",
    {
        "lightm_unet": "medssm.networks.lightm_unet:LightMUNet",
        "vm_unet": "medssm.networks.vm_unet:VMUNet",
        "mhs_vm": "medssm.networks.mhs_vm:mhs_vm",
        "msvm_unet": "medssm.networks.msvm_unet:MSVMUNet",
        "unet": "medssm.networks.baselines:MonaiUNet",
    },
    "medssm.networks",
)
