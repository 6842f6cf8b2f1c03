"""Custom code for a test checkpoint, whose forward pass kills its process when it reads one certain token.

It is copied into the checkpoint's directory, so it imports nothing from this project.
"""

import os
import signal

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class DeadlyConfig(PretrainedConfig):
    model_type = "deadly"
    fatal_id = -1


class DeadlyModel(PreTrainedModel):
    config_class = DeadlyConfig

    def __init__(self, config: DeadlyConfig) -> None:
        super().__init__(config)
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.post_init()

    def forward(self, input_ids: torch.Tensor) -> SequenceClassifierOutput:
        if (input_ids == self.config.fatal_id).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return SequenceClassifierOutput(logits=input_ids.float().mean(dim=1, keepdim=True) + self.bias)
