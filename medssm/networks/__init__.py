"""The tables of networks: for segmentation (B, C, *S) to logits (B, K, *S), others a field."""

from medssm.core.registry import Table

NETWORKS = Table(
    "network",
    {
        "lightm_unet": "medssm.networks.lightm_unet:LightMUNet",
        "vm_unet": "medssm.networks.vm_unet:VMUNet",
        "mhs_vm": "medssm.networks.mhs_vm:mhs_vm",
        "msvm_unet": "medssm.networks.msvm_unet:MSVMUNet",
        "hybrid_mamba": "medssm.networks.hybrid_mamba:HybridMamba",
        "segmamba": "medssm.networks.segmamba:SegMamba",
        "unet": "medssm.networks.baselines:MonaiUNet",
        "plain_conv_unet": "medssm.networks.nnunet_unets:PlainConvUNet",
        "residual_encoder_unet": "medssm.networks.nnunet_unets:ResidualEncoderUNet",
    },
    "medssm.networks",
)
# (B, leads, T) to logits (B, K)
ECG_NETWORKS = Table(
    "ECG network",
    {
        "ecg_mamba": "medssm.networks.ecg_mamba:ECGMamba",
        "xresnet1d101": "medssm.networks.xresnet1d:XResNet1d",
    },
    "medssm.ecg_networks",
)

# (B, L, C) and lengths (B,) to `BagOutput`: logits (B, K), attention, embedding
BAG_NETWORKS = Table(
    "bag network",
    {
        "mamba_mil": "medssm.networks.mamba_mil:MambaMIL",
        "attention_mil": "medssm.networks.attention_mil:AttentionMIL",
        "instance_mil": "medssm.networks.attention_mil:InstanceMIL",
        "clam": "medssm.networks.clam:CLAM",
        "trans_mil": "medssm.networks.trans_mil:TransMIL",
        "s4_mil": "medssm.networks.s4_mil:S4MIL",
    },
    "medssm.bag_networks",
)
# (N, coils, H, W, 2) masked k-space, mask and maps to k-space
RECONSTRUCTION_NETWORKS = Table(
    "reconstruction network",
    {"recurrent_varnet": "medssm.networks.recurrent_varnet:RecurrentVarNet"},
    "medssm.reconstruction_networks",
)
# (B, C, *S) and its visible cells to the normalised image (B, C, *S)
PRETRAINING_NETWORKS = Table(
    "pretraining network",
    {"mamba_mim": "medssm.networks.mamba_mim:MambaMIM"},
    "medssm.pretraining_networks",
)

# the field, as conf/ calls its primary file, to its networks
TABLES = {
    "segmentation": NETWORKS,
    "pretraining": PRETRAINING_NETWORKS,
    "ecg": ECG_NETWORKS,
    "reconstruction": RECONSTRUCTION_NETWORKS,
    "pathology": BAG_NETWORKS,
}


def table_of(name: str) -> Table:
    """The table that knows a network; segmentation's, with its message, where none does."""
    return next((table for table in TABLES.values() if name in table), NETWORKS)
