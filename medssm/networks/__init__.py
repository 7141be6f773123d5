"""The table of networks: (B, C, *S) to logits (B, K, *S)."""

from medssm.core.registry import Table

NETWORKS = Table(
    "network",
    {
        "lightm_unet": "medssm.networks.lightm_unet:LightMUNet",
        "unet": "medssm.networks.baselines:MonaiUNet",
    },
    "medssm.networks",
)
