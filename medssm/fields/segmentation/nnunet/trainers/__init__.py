"""What the variable nnUNet_extTrainer names: nnU-Net looks for trainer classes in here."""

from pathlib import Path

FOLDER = Path(__file__).parent
TRAINER = "nnUNetTrainerMedSSM"
