"""The merge methods and their parameters, in mergekit's vocabulary."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from evomerge.config.parameters import Density, Epsilon, Number, Ratio, Weight, numbers
from evomerge.config.texts import Device, Dtype, NonEmpty, ShardSize
from evomerge.domain.settings import Fault, identity, refuse, refuse_any, runtime
from evomerge.domain.value import Value


class SlerpParameters(Value):
    """Spherical interpolation between two parents."""

    t: Ratio = identity(
        default=0.5, description="0: the better-scoring parent, 1: the other; from 0 to 1"
    )


class LinearParameters(Value):
    """Weighted mean of the weights."""

    weight: Weight = identity(default=0.5, description="of each parent")
    normalize: bool = identity(default=True, description="divide by the sum of the weights")

    @model_validator(mode="after")
    def _sum_is_not_zero(self) -> Self:
        if self.normalize:
            refuse_any(
                (("weight", *path), "a weight of 0 cannot be normalized: it would divide by 0")
                for path, number in numbers(self.weight)
                if number == 0
            )
        return self


class TaskArithmeticParameters(Value):
    """Base plus the weighted sum of the task vectors."""

    weight: Weight = identity(default=0.5, description="of each parent's task vector")
    normalize: bool = identity(default=False, description="divide by the sum of the weights")
    lambda_: Number = identity(
        default=1.0, alias="lambda", description="scale of the merged task vector"
    )


class TiesParameters(TaskArithmeticParameters):
    """Task vectors trimmed to their largest entries, signs elected."""

    density: Density = identity(
        default=0.5, description="share of each task vector that is kept; above 0, up to 1"
    )
    normalize: bool = identity(default=True, description="divide by the sum of the weights")


class DareParameters(TiesParameters):
    """Task vectors with entries dropped at random."""

    normalize: bool = identity(default=False, description="divide by the sum of the weights")
    rescale: bool = identity(default=True, description="scale up what was kept")


class DellaParameters(TiesParameters):
    """Task vectors with entries dropped at random by magnitude."""

    epsilon: Epsilon = identity(
        default=0.1, description="half-range of the keep probability around `density`"
    )

    @model_validator(mode="after")
    def _keeps_are_probabilities(self) -> Self:
        shares = [x for _, x in numbers(self.density) if x < 1]  # 1: nothing is dropped
        spread = max((x for _, x in numbers(self.epsilon)), default=0.0)
        if shares and not (min(shares) - spread > 0 and max(shares) + spread < 1):
            what = f"density ± epsilon must lie between 0 and 1, and ± {spread:g} leaves it"
            refuse((("epsilon",), what))
        return self


class MergeOptions(Value):
    """mergekit's options."""

    allow_crimes: bool = identity(default=False, description="let architectures mix")
    trust_remote_code: bool = identity(default=False, description="run code from model folders")
    allow_pickle: bool = identity(
        default=False, description="load weights that are not safetensors"
    )
    device: Device = identity(
        default="cpu", description="where merges are computed: cpu, cuda, cuda:0, mps; auto"
    )
    low_cpu_memory: bool = runtime(default=False, description="keep tensors on the accelerator")
    threads: int = identity(
        default=1, ge=1, le=1024, description="CPU threads of a merge; the number changes last bits"
    )
    shard_size: ShardSize = identity(default="5B", description="bytes per weight file: 5B, 500M")


_CHAT_TEMPLATES = ("auto", "alpaca", "chatml", "exaone", "llama3", "mistral")


def _chat_template(text: str) -> str:
    if text not in _CHAT_TEMPLATES and ("{" not in text or len(text) < 20):
        known = ", ".join(_CHAT_TEMPLATES)
        refuse(((), f"expected one of {known}, or the text of a Jinja template"))
    return text


ChatTemplate = Annotated[str, AfterValidator(_chat_template)]


class _Merge(Value):
    dtype: Dtype | None = identity(default=None, description="of the child; default: its parents'")
    tokenizer: NonEmpty = identity(
        default="auto",
        description="auto: union where vocabularies differ, else copy; union; base; copy: the "
        "first parent's; or a model, by the name of a foundation model, its hub id or path",
    )
    chat_template: ChatTemplate | None = identity(
        default=None,
        description="default: the tokenizer's own; auto, alpaca, chatml, exaone, llama3, mistral, "
        "or a Jinja template",
    )
    skip_if_kinship_above: float | None = identity(
        default=None,
        ge=-1,
        lt=1,
        description="skip merges whose parents' measured kinship is above this, and merge other "
        "pairs instead (0.99: near-identical parents); pcc or cosine only, not for grids and "
        "searches over all foundation models; default: none",
    )
    options: MergeOptions = MergeOptions()


class SlerpMerge(_Merge):
    """`method: slerp`: along the arc between two parents."""

    method: Literal["slerp"] = identity(description="how parents become a child")
    parameters: SlerpParameters = SlerpParameters()


class LinearMerge(_Merge):
    """`method: linear`: the weighted mean."""

    method: Literal["linear"] = identity(description="how parents become a child")
    parameters: LinearParameters = LinearParameters()


class TaskArithmeticMerge(_Merge):
    """`method: task_arithmetic`: the base plus weighted task vectors."""

    method: Literal["task_arithmetic"] = identity(description="how parents become a child")
    parameters: TaskArithmeticParameters = TaskArithmeticParameters()


class TiesMerge(_Merge):
    """`method: ties`: trimmed task vectors whose signs agree."""

    method: Literal["ties"] = identity(description="how parents become a child")
    parameters: TiesParameters = TiesParameters()


class DareMerge(_Merge):
    """`method: dare_ties` or `dare_linear`: randomly thinned task vectors."""

    method: Literal["dare_ties", "dare_linear"] = identity(description="how parents become a child")
    parameters: DareParameters = DareParameters()


class DellaMerge(_Merge):
    """`method: della`: task vectors thinned at random, small entries first."""

    method: Literal["della"] = identity(description="how parents become a child")
    parameters: DellaParameters = DellaParameters()


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
    """Refuse what mergekit would drop without a word, or what evomerge writes itself."""
    faults: list[Fault] = []
    for key in fragment:
        if key not in _FRAGMENT_KEYS:
            why = _SET_ELSEWHERE.get(key, f"a fragment holds {', '.join(_FRAGMENT_KEYS)}")
            faults.append(((key,), f"this key does not belong here: {why}"))
    if not isinstance(fragment.get("merge_method"), str):
        faults.append(((), "`merge_method` is missing, or is not a text"))
    if not isinstance(fragment.get("parameters", {}), dict):
        faults.append((("parameters",), "expected a mapping"))
    refuse_any(iter(faults))
    return fragment


class RawMerge(_Merge):
    """`method: mergekit`: a fragment of a mergekit configuration, passed through.

    evomerge adds `models` and `base_model`.
    """

    method: Literal["mergekit"] = identity(description="how parents become a child")
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
    SlerpMerge | LinearMerge | TaskArithmeticMerge | TiesMerge | DareMerge | DellaMerge | RawMerge,
    Field(discriminator="method"),
]
