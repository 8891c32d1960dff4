"""LongSkywork's model classes. Importing this registers them with transformers' Auto classes: no trust is needed.

The three modules beside this file travel with the weights; they import torch, transformers and each other only.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from .configuration_longskywork import LongSkyworkConfig
from .modeling_longskywork import (
    LongSkyworkForCausalLM,
    LongSkyworkForSequenceClassification,
    LongSkyworkModel,
    LongSkyworkPreTrainedModel,
)

AutoConfig.register(LongSkyworkConfig.model_type, LongSkyworkConfig, exist_ok=True)
AutoModel.register(LongSkyworkConfig, LongSkyworkModel, exist_ok=True)
AutoModelForCausalLM.register(LongSkyworkConfig, LongSkyworkForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(LongSkyworkConfig, LongSkyworkForSequenceClassification, exist_ok=True)

__all__ = [
    "LongSkyworkConfig",
    "LongSkyworkForCausalLM",
    "LongSkyworkForSequenceClassification",
    "LongSkyworkModel",
    "LongSkyworkPreTrainedModel",
]
