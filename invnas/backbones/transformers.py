"""A backbone as a model of Hugging Face's transformers: importing this module tells its AutoConfig and AutoBackbone.

An architecture is plain JSON within config.json, and weights are safetensors: nothing is pickled, and no code comes
with a model. So types of a user's own cannot travel this way.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from invnas.architecture import Architecture
from invnas.backbones.features import Backbone, stages_of
from invnas.errors import BadInput, MissingExtra
from invnas.hybrid import HybridNet
from invnas.space import Space

try:
    from huggingface_hub.dataclasses import strict
    from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
    from transformers import initialization as init
    from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
    from transformers.modeling_outputs import BackboneOutput
    from transformers.utils.generic import can_return_tuple
except ModuleNotFoundError as error:
    if error.name not in ("transformers", "huggingface_hub"):
        raise
    raise MissingExtra(error.name, "transformers") from None


@strict
class InvnasConfig(BackboneConfigMixin, PreTrainedConfig):
    """The config of an `InvnasBackbone`.

    Attributes:
        architecture: Plain data of `Architecture.to_dict`: a HybridNet.
        input_shape: (channels, height, width) of the images it was made for; others of these channels are taken too.
        preprocessing: Plain data of `Preprocessing.to_dict`, or None.
        stage_names: "stem", "stage1", "stage2", …; `out_features` and `out_indices` choose among them.
    """

    model_type = "invnas"
    has_no_defaults_at_init = True

    architecture: dict[str, Any] | None = None
    input_shape: list[int] | tuple[int, ...] = (3, 224, 224)
    preprocessing: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        stages = len(stages_of(self.value).stages)
        self.stage_names = ["stem", *(f"stage{i + 1}" for i in range(stages))]
        chosen = {name: kwargs.pop(name, None) for name in ("out_indices", "out_features")}
        self.set_output_features_output_indices(**chosen)
        super().__post_init__(**kwargs)

    @property
    def value(self) -> Architecture:
        """The architecture as a value."""
        if self.architecture is None:
            raise BadInput(
                "a config of an invnas backbone needs its architecture: InvnasBackbone.of(backbone) makes one"
            )
        return Architecture.from_dict(self.architecture)


class InvnasBackbone(BackboneMixin, PreTrainedModel):
    """A backbone of invnas as transformers has them: `feature_maps` of images, `save_pretrained`, `from_pretrained`.

    Args:
        config: What it is.

    Shapes:
        pixel_values (B, C, H, W) -> a BackboneOutput with `feature_maps`, one for each of `out_features`.
    """

    config_class = InvnasConfig
    base_model_prefix = "invnas"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    has_attentions = False
    _no_split_modules: ClassVar[list[str]] = []

    def __init__(self, config: InvnasConfig) -> None:
        super().__init__(config)
        self.body = self._fresh()
        # What was made here has the weights that its own layers begin with; on meta they are still to come.
        self.body._is_hf_initialized = next(self.body.parameters()).device.type != "meta"  # type: ignore[assignment]
        self.num_features = [one["num_chs"] for one in self.body.feature_info.info]
        self.post_init()

    @classmethod
    def of(cls, body: Backbone) -> InvnasBackbone:
        """Return a backbone of invnas with its weights as a model of transformers; both go their own ways.

        Raises:
            BadInput: If it is made of types of a user's own, which a config cannot hold.
        """
        network = stages_of(body.architecture)
        architecture = Architecture(HybridNet(network.stem, tuple(network.stages[: len(body.stages)])))
        if types := Space(architecture.network).types:
            raise BadInput(
                f"{min(types)} is a class of your own, and a config of transformers holds no code: take a network of "
                "invnas's own blocks and operators, or the module of invnas.backbone itself"
            )
        seen = body.preprocessing
        config = InvnasConfig(
            architecture=architecture.to_dict(),
            input_shape=list(body.input_shape),
            preprocessing=None if seen is None else seen.to_dict(),
            out_indices=list(body.feature_info.out_indices),
        )
        model = cls(config)
        model.body.load_state_dict(body.state_dict())
        return model.train(body.training)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BackboneOutput:
        """Return the maps of images; with `output_hidden_states` those of the stem and of all stages too."""
        every = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        chosen = [self.stage_names.index(name) for name in self.out_features]
        found = self.body.maps(pixel_values, range(len(self.stage_names)) if every else chosen)
        hidden = tuple(found[i] for i in range(len(self.stage_names))) if every else None
        return BackboneOutput(feature_maps=tuple(found[i] for i in chosen), hidden_states=hidden, attentions=None)

    def _fresh(self) -> Backbone:
        return Backbone(self.config.value, tuple(self.config.input_shape))

    def _initialize_weights(self, module: torch.nn.Module, is_custom_code: bool = False) -> None:
        # Of code that is not its own it takes a module without tensors of its own, such as our body, for complete.
        super()._initialize_weights(module)

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        """Give what a checkpoint lacked the weights that our layers begin with."""
        if isinstance(module, Backbone):
            with torch.device("cpu"):
                begun = self._fresh().state_dict()
            for name, value in module.state_dict(keep_vars=True).items():
                init.copy_(value, begun[name])


AutoConfig.register("invnas", InvnasConfig)
AutoBackbone.register(InvnasConfig, InvnasBackbone)
