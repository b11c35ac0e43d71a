"""ESPnet task of masked speech modelling: registries, options, building."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import humanfriendly
import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.asr.preencoder.abs_preencoder import AbsPreEncoder
from espnet2.asr.preencoder.linear import LinearProjection
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.asr.specaug.specaug import SpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN
from espnet2.tasks.ssl import SSLTask
from espnet2.torch_utils.initialize import initialize
from espnet2.train.class_choices import ClassChoices
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import float_or_none, str2bool, str_or_none

from espnet_a2m.collate import A2MCollateFn
from espnet_a2m.config_check import check_kwargs
from espnet_a2m.frame_grid import FrameGrid
from espnet_a2m.losses.contrastive import ContrastiveLoss
from espnet_a2m.losses.masked_prediction import MaskedPredictionLoss
from espnet_a2m.losses.quantizer import GumbelQuantizer
from espnet_a2m.masking import GuidedMasking
from espnet_a2m.model import A2MModel
from espnet_a2m.preprocessor import A2MPreprocessor
from espnet_a2m.trainer import A2MTrainer

# Registries of our own: ESPnet's are shared by whoever imports them.
frontend_choices = ClassChoices(
    "frontend",
    classes=dict(default=DefaultFrontend),
    type_check=AbsFrontend,
    default="default",
)
specaug_choices = ClassChoices(
    "specaug",
    classes=dict(specaug=SpecAug),
    type_check=AbsSpecAug,
    default=None,
    optional=True,
)
normalize_choices = ClassChoices(
    "normalize",
    classes=dict(global_mvn=GlobalMVN, utterance_mvn=UtteranceMVN),
    type_check=AbsNormalize,
    default="utterance_mvn",
    optional=True,
)
preencoder_choices = ClassChoices(
    "preencoder",
    classes=dict(linear=LinearProjection),
    type_check=AbsPreEncoder,
    default=None,
    optional=True,
)
encoder_choices = ClassChoices(
    "encoder",
    classes=dict(
        conformer=ConformerEncoder,
        transformer=TransformerEncoder,
        branchformer=BranchformerEncoder,
        e_branchformer=EBranchformerEncoder,
    ),
    type_check=AbsEncoder,
    default="conformer",
)
quantizer_choices = ClassChoices(
    "quantizer",
    classes=dict(gumbel=GumbelQuantizer),
    type_check=torch.nn.Module,
    default="gumbel",
)
masking_choices = ClassChoices(
    "masking",
    classes=dict(guided=GuidedMasking),
    type_check=torch.nn.Module,
    default="guided",
)
model_choices = ClassChoices("model", classes=dict(a2m=A2MModel), default="a2m")
loss_choices = ClassChoices(
    "loss",
    classes=dict(contrastive=ContrastiveLoss, masked_prediction=MaskedPredictionLoss),
    type_check=torch.nn.Module,
    default="contrastive",
)


def build(choices: ClassChoices, args: argparse.Namespace, **given: Any) -> Any:
    """Make what ``--<name>`` and ``--<name>_conf`` describe, or None.

    Raises:
        ConfigError: ``<name>_conf`` has a key that the class does not take.
    """
    choice = getattr(args, choices.name)
    if choice is None:
        return None
    cls = choices.get_class(choice)
    conf = getattr(args, f"{choices.name}_conf")
    check_kwargs(cls, conf, f"{choices.name}_conf", given=given)
    return cls(**given, **conf)


class A2MTask(SSLTask):
    """Masked speech modelling with Ask2Mask in ESPnet's own trainer."""

    class_choices_list = [
        frontend_choices,
        specaug_choices,
        normalize_choices,
        preencoder_choices,
        encoder_choices,
        quantizer_choices,
        masking_choices,
        model_choices,
    ]
    trainer = A2MTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("Task related")
        group.add_argument(
            "--init",
            type=str_or_none,
            default=None,
            choices=[
                "xavier_uniform",
                "xavier_normal",
                "kaiming_uniform",
                "kaiming_normal",
                None,
            ],
            help="Initialization of all parameters",
        )
        group.add_argument(
            "--loss",
            action=NestedDictAction,
            default=[
                {"name": "contrastive", "conf": {"layer": 2}},
                {"name": "masked_prediction", "conf": {"layer": 6}},
            ],
            help="Objectives, a list of {name, conf}; in YAML only",
        )
        group.add_argument(
            "--confidence_grid",
            default=None,
            help="grid.json that was written beside confidence.scp",
        )
        group.add_argument(
            "--collate_fn_conf",
            action=NestedDictAction,
            default=dict(),
            help="crop_duration: longest audio of a batch in seconds",
        )
        for class_choices in cls.class_choices_list:
            class_choices.add_arguments(group)

        group = parser.add_argument_group("Preprocess related")
        group.add_argument(
            "--use_preprocessor",
            type=str2bool,
            default=True,
            help="Check the data and augment the audio",
        )
        group.add_argument("--speech_volume_normalize", type=float_or_none)
        group.add_argument("--rir_scp", type=str_or_none)
        group.add_argument("--rir_apply_prob", type=float, default=1.0)
        group.add_argument("--noise_scp", type=str_or_none)
        group.add_argument("--noise_apply_prob", type=float, default=1.0)
        group.add_argument("--noise_db_range", type=str, default="13_15")

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        conf = dict(args.collate_fn_conf)
        check_kwargs(A2MCollateFn, conf, "collate_fn_conf", given=("fs", "random_crop"))
        if args.collect_stats:
            conf["crop_duration"] = None  # lengths are those of the whole audio
        fs = humanfriendly.parse_size(str(args.frontend_conf.get("fs", 16000)))
        return A2MCollateFn(fs=fs, random_crop=train, **conf)

    @classmethod
    def build_preprocess_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Callable | None:
        if not args.use_preprocessor:
            return None
        grid = args.confidence_grid
        return A2MPreprocessor(
            train=train,
            confidence_grid=None if grid is None else FrameGrid.load(grid),
            speech_volume_normalize=args.speech_volume_normalize,
            rir_scp=args.rir_scp,
            rir_apply_prob=args.rir_apply_prob,
            noise_scp=args.noise_scp,
            noise_apply_prob=args.noise_apply_prob,
            noise_db_range=args.noise_db_range,
        )

    @classmethod
    def required_data_names(
        cls, train: bool = True, inference: bool = False
    ) -> tuple[str, ...]:
        return ("speech",)

    @classmethod
    def optional_data_names(
        cls, train: bool = True, inference: bool = False
    ) -> tuple[str, ...]:
        return ("confidence",)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> A2MModel:
        grid = None
        if args.confidence_grid is not None:
            grid = FrameGrid.load(args.confidence_grid)
            # kept in config.yaml, so that it can be read without the file
            args.confidence_grid = vars(grid)

        frontend = build(frontend_choices, args)
        size = frontend.output_size()
        specaug = build(specaug_choices, args)
        normalize = build(normalize_choices, args)
        preencoder = build(preencoder_choices, args, input_size=size)
        if preencoder is not None:
            size = preencoder.output_size()
        encoder = build(encoder_choices, args, input_size=size)
        width = encoder.output_size()
        quantizer = build(quantizer_choices, args, input_size=width)
        losses = []
        for i, loss in enumerate(args.loss):
            loss_cls = loss_choices.get_class(loss["name"])
            given = {"input_size": width, "quantizer": quantizer}
            conf = loss.get("conf", {})
            check_kwargs(loss_cls, conf, f"loss[{i}].conf", given=given)
            losses.append(loss_cls(**given, **conf))

        model = build(
            model_choices,
            args,
            frontend=frontend,
            specaug=specaug,
            normalize=normalize,
            preencoder=preencoder,
            encoder=encoder,
            masking=build(masking_choices, args, size=width),
            quantizer=quantizer,
            losses=losses,
            confidence_grid=grid,
        )
        if args.init is not None:
            initialize(model, args.init)
        return model
