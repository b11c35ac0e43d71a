"""ESPnet task of masked speech modelling: registries, options, building."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import humanfriendly
from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from espnet2.asr.frontend.cnn import CNNFrontend
from espnet2.asr.frontend.windowing import SlidingWindow
from espnet2.asr.preencoder.linear import LinearProjection
from espnet2.asr.preencoder.sinc import LightweightSincConvs
from espnet2.asr.specaug.specaug import SpecAug
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

#: What a model is built of: option -> its default and the classes to choose from.
PARTS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "frontend": (
        "default",
        {
            "default": LogMelFrontend,
            "wav2vec_cnn": CNNFrontend,
            "sliding_window": SlidingWindow,
        },
    ),
    "specaug": (None, {"specaug": SpecAug}),
    "normalize": (
        "utterance_mvn",
        {"global_mvn": GlobalMVN, "utterance_mvn": UtteranceMVN},
    ),
    "preencoder": (None, {"linear": LinearProjection, "sinc": LightweightSincConvs}),
    "encoder": (
        "conformer",
        {
            "conformer": ConformerEncoder,
            "transformer": TransformerEncoder,
            "branchformer": BranchformerEncoder,
            "e_branchformer": EBranchformerEncoder,
        },
    ),
    "quantizer": ("gumbel", {"gumbel": GumbelQuantizer}),
    "masking": ("guided", {"guided": GuidedMasking}),
    "model": ("a2m", {"a2m": A2MModel}),
}
OPTIONAL = ("specaug", "normalize", "preencoder")
# Registries of our own: ESPnet's are shared by whoever imports them.
part_choices = {
    name: ClassChoices(name, classes, default=default, optional=name in OPTIONAL)
    for name, (default, classes) in PARTS.items()
}
loss_choices = ClassChoices(
    "loss",
    dict(
        contrastive=ContrastiveLoss,
        masked_prediction=MaskedPredictionLoss,
        hubert=HuBERTLoss,
        best_rq=BestRQLoss,
        feature_penalty=FeaturePenalty,
    ),
    default="contrastive",
)
#: Options of ESPnet's augmentation -> their types and defaults.
AUGMENTATION: dict[str, tuple[Callable, Any]] = {
    "speech_volume_normalize": (float_or_none, None),
    "rir_scp": (str_or_none, None),
    "rir_apply_prob": (float, 1.0),
    "noise_scp": (str_or_none, None),
    "noise_apply_prob": (float, 1.0),
    "noise_db_range": (str, "13_15"),
}


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


def build(part: str, args: argparse.Namespace, **given: Any) -> Any:
    """Build what ``--<part>`` and ``--<part>_conf`` describe, or None.

    Raises:
        ConfigError: ``<part>_conf`` has a key that the class does not take.
    """
    choice, option = getattr(args, part), f"{part}_conf"
    if choice is None:
        return None
    cls = part_choices[part].get_class(choice)
    return construct(cls, getattr(args, option), option, given)


def sampling_rate(args: argparse.Namespace) -> int:
    """``frontend_conf.fs`` in Hz."""
    return humanfriendly.parse_size(str(args.frontend_conf.get("fs", 16000)))


def load_grid(args: argparse.Namespace, option: str) -> FrameGrid | None:
    """Load the grid of ``--<option>``, or None; ``args``, thus config.yaml, keep it."""
    path = getattr(args, option)
    if path is None:
        return None
    grid = FrameGrid.load(path)
    setattr(args, option, vars(grid))
    return grid


def leave_out_files(args: argparse.Namespace) -> None:
    """Let a model be built before the files that it needs are there.

    None of them changes a size: statistics, the grids of streams, a scorer.
    """
    args.normalize, args.init, args.online_scorer_conf = None, None, {}
    grid = {"fs": sampling_rate(args), "offset": 0.0, "stride": 1}
    args.confidence_grid, args.label_grid = grid, dict(grid)


def label_classes(losses: list[dict[str, Any]]) -> dict[int, int | None]:
    """Index of each objective on labels -> its number of classes, None for any."""
    classes = {}
    for i, loss in enumerate(losses):
        loss_cls = loss_choices.get_class(loss["name"])
        if loss_cls.needs_labels:
            conf = loss.get("conf", {})
            classes[i] = conf.get("num_classes", loss_cls.num_classes)
    return classes


def build_frontend(args: argparse.Namespace) -> AbsFrontend:
    """Build the front end of ``--frontend``.

    Raises:
        ConfigError: A key is unknown, or a setting would make an utterance's features
            depend on its neighbours in the batch.
    """
    frontend = build("frontend", args)
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

    An objective may ask for any of the ``parts`` by the name of an argument.
    """
    losses: list[Objective] = []
    quantizer = None
    for i, loss in enumerate(args.loss):
        loss_cls = loss_choices.get_class(loss["name"])
        if "quantizer" in inspect.signature(loss_cls).parameters and not quantizer:
            size = parts["input_size"]
            quantizer = build("quantizer", args, input_size=size)
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

    class_choices_list = list(part_choices.values())
    trainer = A2MTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("Task related")
        add = group.add_argument
        add(
            "--init",
            type=str_or_none,
            choices=[
                *("xavier_uniform", "xavier_normal"),
                *("kaiming_uniform", "kaiming_normal"),
                None,
            ],
            help="Initialization of all parameters",
        )
        init = (
            "Pre-trained model to continue from, config.yaml beside: parameters, and "
        )
        init += "with global_mvn the statistics of the features"
        add("--ssl_init", type=str_or_none, help=init)
        add(
            "--loss",
            action=NestedDictAction,
            default=[
                {"name": "contrastive", "conf": {"layer": 2}},
                {"name": "masked_prediction", "conf": {"layer": 6}},
            ],
            help="Objectives, a list of {name, conf}; in YAML only",
        )
        add("--confidence_grid", help="grid.json beside confidence.scp (bin.score)")
        add("--label_grid", help="grid.json beside labels.scp (bin.labels)")
        online = "Compute confidences while training, in place of a stream of them: "
        online += "scorer (espnet) and its options, such as model_file and measure"
        add("--online_scorer_conf", action=NestedDictAction, default={}, help=online)
        crop = "crop_duration: longest audio of a batch in seconds"
        add("--collate_fn_conf", action=NestedDictAction, default={}, help=crop)
        for class_choices in cls.class_choices_list:
            class_choices.add_arguments(group)

        add = parser.add_argument_group("Preprocess related").add_argument
        text = "Check the data and augment the audio"
        add("--use_preprocessor", type=str2bool, default=True, help=text)
        for name, (kind, default) in AUGMENTATION.items():
            add(f"--{name}", type=kind, default=default)

    @classmethod
    def build_multiple_iter_factory(
        cls, args: argparse.Namespace, distributed_option: Any, mode: str
    ) -> SplitIterFactory:
        stock = super().build_multiple_iter_factory(args, distributed_option, mode)
        return SplitIterFactory(stock.build_funcs, stock.seed, stock.shuffle)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        conf = dict(args.collate_fn_conf)
        if args.collect_stats:
            conf["crop_duration"] = None  # statistics are of uncropped audio
        given = {"fs": sampling_rate(args), "random_crop": train}
        return construct(A2MCollateFn, conf, "collate_fn_conf", given)

    @classmethod
    def build_preprocess_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Callable | None:
        if not args.use_preprocessor:
            return None
        confidence_grid, label_grid = args.confidence_grid, args.label_grid
        classes = filter(None, label_classes(args.loss).values())
        return A2MPreprocessor(
            train=train,
            confidence_grid=confidence_grid and FrameGrid.load(confidence_grid),
            label_grid=label_grid and FrameGrid.load(label_grid),
            num_classes=min(classes, default=None),
            **{name: getattr(args, name) for name in AUGMENTATION},
        )

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
        specaug = build("specaug", args)
        normalize = build("normalize", args)
        preencoder = build("preencoder", args, input_size=size)
        if preencoder is not None:
            size = preencoder.output_size()
        encoder = build("encoder", args, input_size=size)
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
        online = args.online_scorer_conf
        scorer = OnlineScorer(**online) if online else None
        confidence = ConfidenceFrontend(
            encoder_grid, load_grid(args, "confidence_grid"), scorer
        )
        check_num_classes(args.label_grid, losses)
        label_grid = load_grid(args, "label_grid")
        model = build(
            "model",
            args,
            frontend=frontend,
            specaug=specaug,
            normalize=normalize,
            preencoder=preencoder,
            encoder=encoder,
            masking=build("masking", args, size=width),
            quantizer=quantizer,
            losses=losses,
            confidence=confidence,
            labels=label_grid and LabelInput(encoder_grid, label_grid),
            accum_grad=args.accum_grad,
        )
        if args.init is not None:
            initialize(model, args.init)
        return model
