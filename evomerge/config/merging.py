"""The merge methods and their parameters, in mergekit's vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from evomerge.config.parameters import Density, Epsilon, Number, Ratio, Weight, numbers
from evomerge.config.texts import Device, Dtype, NonEmpty, ShardSize
from evomerge.domain.settings import Fault, identity, refuse, refuse_any, runtime
from evomerge.domain.value import Value


class _Parameters(Value):
    """The parameters of a merge method.

    Attributes:
        of_each_parent: names of those that mergekit takes per input model, not per merge.
    """

    of_each_parent: ClassVar[frozenset[str]] = frozenset({"weight"})


class SlerpParameters(_Parameters):
    """Spherical interpolation between two parents."""

    t: Ratio = identity(
        default=0.5, description="from 0 (the better-scoring parent) to 1 (the other parent)"
    )


class LinearParameters(_Parameters):
    """Weighted mean of the weights."""

    weight: Weight = identity(default=0.5, description="weight of each parent")
    normalize: bool = identity(default=True, description="divide by the sum of the weights")

    @model_validator(mode="after")
    def _sum_is_not_zero(self) -> Self:
        if self.normalize:
            refuse_any(
                (("weight", *path), "weights of 0 cannot be normalized (division by 0)")
                for path, number in numbers(self.weight)
                if number == 0
            )
        return self


class TaskArithmeticParameters(_Parameters):
    """Base plus the weighted sum of the task vectors."""

    weight: Weight = identity(default=0.5, description="weight of each parent's task vector")
    normalize: bool = identity(default=False, description="divide by the sum of the weights")
    lambda_: Number = identity(
        default=1.0, alias="lambda", description="scale of the merged task vector"
    )


class TiesParameters(TaskArithmeticParameters):
    """Task vectors trimmed to their largest entries, merged with sign election."""

    of_each_parent = frozenset({"weight", "density"})

    density: Density = identity(
        default=0.5, description="share of each task vector's entries that is kept, in (0, 1]"
    )
    normalize: bool = identity(default=True, description="divide by the sum of the weights")


class DareParameters(TiesParameters):
    """Task vectors with randomly dropped entries."""

    normalize: bool = identity(default=False, description="divide by the sum of the weights")
    rescale: bool = identity(default=True, description="divide the kept entries by the density")


class DellaParameters(TiesParameters):
    """Task vectors with randomly dropped entries, small ones more often."""

    of_each_parent = frozenset({"weight", "density", "epsilon"})

    epsilon: Epsilon = identity(
        default=0.1, description="keep probabilities range over `density` ± epsilon"
    )

    @model_validator(mode="after")
    def _keeps_are_probabilities(self) -> Self:
        shares = [x for _, x in numbers(self.density) if x < 1]  # with 1 nothing is dropped
        spread = max((x for _, x in numbers(self.epsilon)), default=0.0)
        if shares and not (min(shares) - spread > 0 and max(shares) + spread < 1):
            what = f"density ± epsilon must be between 0 and 1; epsilon is {spread:g}"
            refuse((("epsilon",), what))
        return self


class WudiParameters(_Parameters):
    """Task vectors merged in closed form, layer by layer, to minimise interference."""

    weight: Weight = identity(default=1.0, description="weight of each parent's task vector")
    epsilon: float = identity(
        default=0.3,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="ridge regularisation; results for 0.3 to 1 are similar; parents of low rank "
        "(LoRA) need 30 to 100",
    )


class RegmeanParameters(_Parameters):
    """A regression for every layer, towards what each parent makes of items of its tasks."""

    weight: Weight = identity(default=1.0, description="weight of each parent's task vector")
    ridge: float = identity(
        default=0.001,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="ridge regularisation, in units of each input's own variance, in (0, 1]",
    )
    anchor: NonEmpty = identity(
        default="default",
        description="text on which the child should stay as the base: default (about 800 tokens of "
        "plain English), none, or the path of a text file",
    )


class MergeOptions(Value):
    """Options of mergekit."""

    allow_crimes: bool = identity(default=False, description="allow mixing architectures")
    trust_remote_code: bool = identity(
        default=False, description="allow running code from model folders"
    )
    allow_pickle: bool = identity(
        default=False, description="allow weights that are not safetensors"
    )
    device: Device = identity(
        default="cpu", description="device of merges: cpu, cuda, cuda:0, mps, auto"
    )
    low_cpu_memory: bool = runtime(
        default=False, description="keep intermediate tensors on the GPU"
    )
    threads: int = identity(
        default=1, ge=1, le=1024, description="CPU threads of a merge; affects rounding"
    )
    shard_size: ShardSize = identity(
        default="5B", description="maximum bytes per weight file: 5B, 500M"
    )

    @property
    def on_gpu(self) -> bool:
        """Whether merges may run on a GPU that also evaluates."""
        return self.device not in {"cpu", "mps"}


_CHAT_TEMPLATES = ("auto", "alpaca", "chatml", "exaone", "llama3", "mistral")


def _chat_template(text: str) -> str:
    if text not in _CHAT_TEMPLATES and ("{" not in text or len(text) < 20):
        known = ", ".join(_CHAT_TEMPLATES)
        refuse(((), f"expected one of {known}, or the text of a Jinja template"))
    return text


ChatTemplate = Annotated[str, AfterValidator(_chat_template)]


class _Merge(Value):
    dtype: Dtype | None = identity(
        default=None, description="dtype of the child; default: that of its parents"
    )
    tokenizer: NonEmpty = identity(
        default="auto",
        description="auto: union if vocabularies differ, else copy; union; base; copy: the first "
        "parent's; or that of a model: name of a foundation model, hub id or path",
    )
    chat_template: ChatTemplate | None = identity(
        default=None,
        description="default: the tokenizer's; auto, alpaca, chatml, exaone, llama3, mistral, "
        "or a Jinja template",
    )
    skip_if_kinship_above: float | None = identity(
        default=None,
        ge=-1,
        lt=1,
        description="skip merges whose parents' kinship is above this and merge other pairs "
        "instead (0.99: near-identical parents); pcc or cosine only, ignored by grids and searches "
        "over all foundation models; default: none",
    )
    options: MergeOptions = MergeOptions()


class SlerpMerge(_Merge):
    """`method: slerp`: spherical interpolation between two parents."""

    method: Literal["slerp"] = identity(description="merge method")
    parameters: SlerpParameters = SlerpParameters()


class LinearMerge(_Merge):
    """`method: linear`: weighted mean of the parents' weights."""

    method: Literal["linear"] = identity(description="merge method")
    parameters: LinearParameters = LinearParameters()


class TaskArithmeticMerge(_Merge):
    """`method: task_arithmetic`: base plus weighted task vectors."""

    method: Literal["task_arithmetic"] = identity(description="merge method")
    parameters: TaskArithmeticParameters = TaskArithmeticParameters()


class TiesMerge(_Merge):
    """`method: ties`: trimmed task vectors with sign election."""

    method: Literal["ties"] = identity(description="merge method")
    parameters: TiesParameters = TiesParameters()


class DareMerge(_Merge):
    """`method: dare_ties` or `dare_linear`: task vectors with randomly dropped entries."""

    method: Literal["dare_ties", "dare_linear"] = identity(description="merge method")
    parameters: DareParameters = DareParameters()


class DellaMerge(_Merge):
    """`method: della`: task vectors with entries dropped at random, small ones more often."""

    method: Literal["della"] = identity(description="merge method")
    parameters: DellaParameters = DellaParameters()


class WudiMerge(_Merge):
    """`method: wudi`: task vectors without interference between them, in closed form."""

    method: Literal["wudi"] = identity(description="merge method")
    parameters: WudiParameters = WudiParameters()


class RegmeanMerge(_Merge):
    """`method: regmean_pp`: task vectors by regression over items of the tasks."""

    method: Literal["regmean_pp"] = identity(description="merge method")
    parameters: RegmeanParameters = RegmeanParameters()

    def anchored(self, root: Path) -> Self:
        """The same with an absolute path of the anchor's text: a relative one starts at `root`."""
        text = self.parameters.anchor
        if text in {"default", "none"}:
            return self
        path = str(root.absolute() / Path(text).expanduser())
        parameters = self.parameters.model_copy(update={"anchor": path})
        return self.model_copy(update={"parameters": parameters})


_FRAGMENT_KEYS = ("merge_method", "parameters", "out_dtype")
_SET_ELSEWHERE = {
    "models": "evomerge adds the parents itself",
    "slices": "evomerge merges whole models",
    "modules": "evomerge merges whole models",
    "base_model": "evomerge adds it: see `merge.base`",
    "dtype": "it is set by `merge.dtype`",
    "tokenizer": "it is set by `merge.tokenizer`",
    "tokenizer_source": "it is set by `merge.tokenizer`",
    "chat_template": "it is set by `merge.chat_template`",
}


def _fragment(fragment: dict[str, Any]) -> dict[str, Any]:
    """Refuse keys that mergekit ignores silently or that evomerge sets."""
    faults: list[Fault] = []
    for key in fragment:
        if key not in _FRAGMENT_KEYS:
            why = _SET_ELSEWHERE.get(key, f"a fragment has {', '.join(_FRAGMENT_KEYS)}")
            faults.append(((key,), f"this key does not belong here: {why}"))
    if not isinstance(fragment.get("merge_method"), str):
        faults.append(((), "`merge_method` is missing or not a string"))
    if not isinstance(fragment.get("parameters", {}), dict):
        faults.append((("parameters",), "expected a mapping"))
    refuse_any(iter(faults))
    return fragment


class RawMerge(_Merge):
    """`method: mergekit`: a mergekit configuration without `models` and `base_model`."""

    method: Literal["mergekit"] = identity(description="merge method")
    fragment: Annotated[dict[str, Any], AfterValidator(_fragment)] = identity(
        description="mergekit's `merge_method` and `parameters`"
    )
    parent_parameters: dict[str, Any] = identity(
        default_factory=dict, description="`parameters` of every parent"
    )
    base: Literal["base", "first_parent"] = identity(
        default="base", description="the fragment's `base_model`"
    )


MergeConfig = Annotated[
    SlerpMerge
    | LinearMerge
    | TaskArithmeticMerge
    | TiesMerge
    | DareMerge
    | DellaMerge
    | WudiMerge
    | RegmeanMerge
    | RawMerge,
    Field(discriminator="method"),
]
