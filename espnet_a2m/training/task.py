"""ESPnet task of masked speech modelling: registries, options, building."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import humanfriendly
import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from espnet2.asr.frontend.cnn import CNNFrontend
from espnet2.asr.frontend.windowing import SlidingWindow
from espnet2.asr.preencoder.abs_preencoder import AbsPreEncoder
from espnet2.asr.preencoder.linear import LinearProjection
from espnet2.asr.preencoder.sinc import LightweightSincConvs
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

from espnet_a2m.compat.encoder_hooks import input_convs
from espnet_a2m.compat.frontend_grid import frontend_grid
from espnet_a2m.compat.logmel import LogMelFrontend
from espnet_a2m.confidence.online import OnlineScorer
from espnet_a2m.core.config import ConfigError, check_kwargs
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.losses.best_rq import BestRQLoss
from espnet_a2m.losses.contrastive import ContrastiveLoss
from espnet_a2m.losses.feature_penalty import FeaturePenalty
from espnet_a2m.losses.hubert import HuBERTLoss
from espnet_a2m.losses.masked_prediction import MaskedPredictionLoss
from espnet_a2m.losses.objective import Objective
from espnet_a2m.losses.quantizer import GumbelQuantizer
from espnet_a2m.masking.guided import GuidedMasking
from espnet_a2m.model.frontend import ConfidenceFrontend
from espnet_a2m.model.label_input import LabelInput, check_num_classes
from espnet_a2m.model.model import A2MModel
from espnet_a2m.training.batches import SplitIterFactory
from espnet_a2m.training.collate import A2MCollateFn
from espnet_a2m.training.preprocessor import A2MPreprocessor
from espnet_a2m.training.trainer import A2MTrainer

# Registries of our own: ESPnet's are shared by whoever imports them.
frontend_choices = ClassChoices(
    "frontend",
    dict(
        default=LogMelFrontend,
        wav2vec_cnn=CNNFrontend,
        sliding_window=SlidingWindow,
    ),
    type_check=AbsFrontend,
    default="default",
)
specaug_choices = ClassChoices(
    "specaug", dict(specaug=SpecAug), type_check=AbsSpecAug, optional=True
)
normalize_choices = ClassChoices(
    "normalize",
    dict(global_mvn=GlobalMVN, utterance_mvn=UtteranceMVN),
    type_check=AbsNormalize,
    default="utterance_mvn",
    optional=True,
)
preencoder_choices = ClassChoices(
    "preencoder",
    dict(linear=LinearProjection, sinc=LightweightSincConvs),
    type_check=AbsPreEncoder,
    optional=True,
)
encoder_choices = ClassChoices(
    "encoder",
    dict(
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
    classes=dict(
        contrastive=ContrastiveLoss,
        masked_prediction=MaskedPredictionLoss,
        hubert=HuBERTLoss,
        best_rq=BestRQLoss,
        feature_penalty=FeaturePenalty,
    ),
    type_check=torch.nn.Module,
    default="contrastive",
)


def construct(
    cls: Any, conf: Mapping[str, Any], where: str, given: Mapping[str, Any]
) -> Any:
    """Call ``cls`` with the options of ``conf`` and the ``given`` parts that it takes.

    Raises:
        ConfigError: ``conf``, read from ``where``, has a key that is not an option.
    """
    takes = inspect.signature(cls).parameters
    given = {name: part for name, part in given.items() if name in takes}
    check_kwargs(cls, conf, where, given=given)
    return cls(**given, **conf)


def build(choices: ClassChoices, args: argparse.Namespace, **given: Any) -> Any:
    """Build what ``--<name>`` and ``--<name>_conf`` describe, or None.

    Raises:
        ConfigError: ``<name>_conf`` has a key that the class does not take.
    """
    choice = getattr(args, choices.name)
    if choice is None:
        return None
    conf = getattr(args, f"{choices.name}_conf")
    return construct(choices.get_class(choice), conf, f"{choices.name}_conf", given)


def sampling_rate(args: argparse.Namespace) -> int:
    """``frontend_conf.fs`` in Hz."""
    return humanfriendly.parse_size(str(args.frontend_conf.get("fs", 16000)))


def load_grid(args: argparse.Namespace, option: str) -> FrameGrid | None:
    """Load the frame grid of ``--<option>``, or None.

    Its content is kept in ``args``, thus in config.yaml, for use without the file.
    """
    path = getattr(args, option)
    if path is None:
        return None
    grid = FrameGrid.load(path)
    setattr(args, option, vars(grid))
    return grid


def num_classes(losses: list[dict[str, Any]]) -> int | None:
    """Classes that every objective on labels has, or None without such."""
    sizes = []
    for loss in losses:
        loss_cls = loss_choices.get_class(loss["name"])
        if loss_cls.needs_labels:
            conf = loss.get("conf", {})
            sizes.append(conf.get("num_classes", loss_cls.num_classes))
    return min((size for size in sizes if size is not None), default=None)


def build_frontend(args: argparse.Namespace) -> AbsFrontend:
    """Build the front end of ``--frontend``.

    Raises:
        ConfigError: A key is unknown, or a setting would make an utterance's features
            depend on its neighbours in the batch.
    """
    frontend = build(frontend_choices, args)
    if getattr(frontend, "normalize_audio", False):
        raise ConfigError(
            "frontend_conf.normalize_audio: ESPnet normalises over the padded batch, "
            "so that features would depend on the neighbours: leave it out"
        )
    if args.frontend == "sliding_window" and args.preencoder != "sinc":
        raise ConfigError("frontend: sliding_window needs `preencoder: sinc`")
    return frontend


def build_losses(
    args: argparse.Namespace, **parts: Any
) -> tuple[list[Objective], GumbelQuantizer | None]:
    """The objectives of ``--loss``, and the quantiser if any of them wants one.

    Args:
        args: Of the task.
        **parts: What an objective may ask for by the name of an argument.
    """
    losses: list[Objective] = []
    quantizer = None
    for i, loss in enumerate(args.loss):
        loss_cls = loss_choices.get_class(loss["name"])
        if "quantizer" in inspect.signature(loss_cls).parameters and not quantizer:
            size = parts["input_size"]
            quantizer = build(quantizer_choices, args, input_size=size)
        given = {**parts, "quantizer": quantizer}
        losses.append(
            construct(loss_cls, loss.get("conf", {}), f"loss[{i}].conf", given)
        )
    return losses, quantizer


def check_last_layer(
    losses: list[Objective], num_layers: int, unused_parameters: bool
) -> None:
    """Refuse layers that no objective would train, unless they are meant.

    Raises:
        ConfigError: The objectives end below the encoder's last layer.
    """
    last = max((loss.layer for loss in losses if loss.layer is not None), default=0)
    if last < num_layers and not unused_parameters:
        raise ConfigError(
            f"loss: the objectives end at layer {last} of the encoder's {num_layers}: "
            "what is above would get no gradient, at which several processes stop. Set "
            f"the `layer:` of one to {num_layers}, or encoder_conf.num_blocks: {last}, "
            "or `unused_parameters: true` to leave the layers above as they are"
        )


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
                *("xavier_uniform", "xavier_normal"),
                *("kaiming_uniform", "kaiming_normal"),
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
            help="grid.json that was written beside confidence.scp by bin.score",
        )
        group.add_argument(
            "--online_scorer_conf",
            action=NestedDictAction,
            default=dict(),
            help="Compute confidences while training, in place of a stream of them: "
            "scorer (espnet) and its options, such as model_file and measure",
        )
        group.add_argument(
            "--label_grid",
            default=None,
            help="grid.json that was written beside labels.scp by bin.labels",
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
    def build_multiple_iter_factory(
        cls, args: argparse.Namespace, distributed_option: Any, mode: str
    ) -> SplitIterFactory:
        stock = super().build_multiple_iter_factory(args, distributed_option, mode)
        return SplitIterFactory(stock.build_funcs, stock.seed, stock.shuffle)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        conf = dict(args.collate_fn_conf)
        check_kwargs(A2MCollateFn, conf, "collate_fn_conf", given=("fs", "random_crop"))
        if args.collect_stats:
            conf["crop_duration"] = None  # statistics are of uncropped audio
        fs = sampling_rate(args)
        return A2MCollateFn(fs=fs, random_crop=train, **conf)

    @classmethod
    def build_preprocess_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Callable | None:
        if not args.use_preprocessor:
            return None
        confidence_grid, label_grid = args.confidence_grid, args.label_grid
        return A2MPreprocessor(
            train=train,
            confidence_grid=confidence_grid and FrameGrid.load(confidence_grid),
            label_grid=label_grid and FrameGrid.load(label_grid),
            num_classes=num_classes(args.loss),
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
        return ("confidence", "utterance_confidence", "labels")

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> A2MModel:
        fs = sampling_rate(args)
        frontend = build_frontend(args)
        size = feats_size = frontend.output_size()
        specaug = build(specaug_choices, args)
        normalize = build(normalize_choices, args)
        preencoder = build(preencoder_choices, args, input_size=size)
        if preencoder is not None:
            size = preencoder.output_size()
        encoder = build(encoder_choices, args, input_size=size)
        width = encoder.output_size()
        convs = input_convs(encoder)
        encoder_grid = frontend_grid(frontend, fs).after(convs)
        losses, quantizer = build_losses(
            args,
            input_size=width,
            frontend=frontend,
            feats_size=feats_size,
            input_convs=convs,
        )
        check_last_layer(losses, len(encoder.encoders), args.unused_parameters)
        scorer = None
        if args.online_scorer_conf:
            scorer = OnlineScorer(**args.online_scorer_conf)
        confidence = ConfidenceFrontend(
            encoder_grid, load_grid(args, "confidence_grid"), scorer
        )
        check_num_classes(args.label_grid, losses)
        label_grid = load_grid(args, "label_grid")
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
            confidence=confidence,
            labels=label_grid and LabelInput(encoder_grid, label_grid),
            accum_grad=args.accum_grad,
        )
        if args.init is not None:
            initialize(model, args.init)
        return model
