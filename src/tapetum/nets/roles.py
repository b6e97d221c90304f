"""What each layer of a network does, whatever it is called: so that tuning aims at roles and not at names.

Published checkpoints, `transformers` 4 and 5, timm and open_clip call the same layer `attention.attention.query`,
`q_proj` or a third of `qkv`. Names are read where a name says it, structure (kernel, groups, place) where it does not.
"""

from __future__ import annotations

import re

from torch import nn

ROLES = (
    "query", "key", "value", "qkv", "output", "up", "down", "gate", "pointwise", "spatial", "depthwise", "patch",
    "head", "other",
)  # fmt: skip
_ATTENTION = frozenset({"query", "key", "value", "qkv", "output"})
_MLP = frozenset({"up", "down", "gate"})

# In this order: the first pattern that is found in the dotted name decides.
_NAMED: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(patch_embed(ding)?s?|patch_embedding)\.?(projection|proj)?$", "patch"),
    (r"(^|\.)(decoder|cpb_mlp|rel_pos|continuous_position_bias_mlp|squeeze_excite|_?se)(_\w+)?\.", "other"),
    (r"(^|\.)_se_\w+$", "other"),
    (r"(^|\.)(head|pooler|attn_pool|attnpool|attention_pool|classifier|fc_norm)\.", "head"),
    (r"(^|\.)(head|heads|head_drop|classifier|cls|visual_projection|text_projection|_?fc|head_dist)$", "head"),
    (r"(^|\.)(q_proj|query|q|to_q|q_lin|wq)$", "query"),
    (r"(^|\.)(k_proj|key|k|to_k|k_lin|wk)$", "key"),
    (r"(^|\.)(v_proj|value|v|to_v|v_lin|wv)$", "value"),
    (r"(^|\.)(qkv|qkv_proj|to_qkv|in_proj|in_proj_weight|in_proj_bias|c_attn|wqkv|query_key_value)$", "qkv"),
    (r"(^|\.)(o_proj|out_proj|out_lin|to_out(\.0)?|wo)$", "output"),
    (r"(^|\.)(attention|attn|self_attn|self_attention)\.(output\.dense|proj|c_proj|projection)$", "output"),
    (r"(^|\.)(projection|projector|proj)$", "head"),  # none of a patch embedding or an attention: those stand above
    (r"(^|\.)(gate_proj|fc1_g|w_gate|wi_0)$", "gate"),
    (r"(^|\.)(fc1|fc1_x|up_proj|c_fc|lin1|weights_in|w12|wi|wi_1|intermediate\.dense)$", "up"),
    (r"(^|\.)(fc2|down_proj|c_proj|lin2|weights_out|w3|output\.dense)$", "down"),
    (r"(^|\.)(pwconv[12]|pointwise_conv[12])$", "pointwise"),
)  # fmt: skip


def role_of_name(name: str) -> str:
    """The role that a layer's name tells, in the layouts of `transformers` 4 and 5, timm and open_clip.

    Args:
        name: dotted, of a layer or of its weight or bias in a checkpoint.

    Returns:
        One of `ROLES`; `"other"` where the name tells none.

    Example:
        >>> role_of_name("encoder.layer.3.attention.attention.query.weight"), role_of_name("layers.3.attention.q_proj")
        ('query', 'query')
    """
    bare = re.sub(r"\.(weight|bias)$", "", name).lower()
    return next((role for pattern, role in _NAMED if re.search(pattern, bare)), "other")


def linear_roles(module: nn.Module) -> dict[str, str]:
    """The role of every Linear and Conv2d of a network.

    Args:
        module: an encoder, or any network.

    Returns:
        Dotted name → role, in the network's order: `query`, `key`, `value`, `qkv` and `output` of an attention; `up`,
        `down` and `gate` of a transformer's perceptron; `pointwise` (1×1, and the perceptron of a convolutional block),
        `depthwise` and `spatial` convolutions; `patch` (what reads the image: patch embedding or stem); `head` (pooling
        and projection after the blocks); `other`: position biases, squeeze-and-excitation, merging of patches, and the
        output of `nn.MultiheadAttention`, whose weight is read without the layer being called.

    Example:
        >>> linear_roles(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 1)))
        {'0': 'patch', '2': 'pointwise'}
    """
    read_only = {f"{name}.out_proj" for name, part in module.named_modules() if isinstance(part, nn.MultiheadAttention)}
    roles: dict[str, str] = {}
    first = True
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            roles[name] = _role_of_convolution(name, part, first=first)
            first = False
        elif isinstance(part, nn.Linear):
            roles[name] = role_of_name(name)
            if name in read_only and roles[name] != "head":
                roles[name] = "other"
    for block, part in blocks_of(module):
        inside = {name: role for name, role in roles.items() if name.startswith(f"{block}.")}
        convolutional = any(isinstance(layer, nn.Conv2d) for layer in part.modules())
        if convolutional and not _ATTENTION & set(inside.values()):
            roles |= {name: "pointwise" for name, role in inside.items() if role in _MLP}
    return roles


def _role_of_convolution(name: str, layer: nn.Conv2d, *, first: bool) -> str:
    """By structure; a name only tells squeeze-and-excitation, whose maps are single numbers."""
    if first and layer.groups == 1 and layer.in_channels <= 4:
        return "patch"
    named = role_of_name(name)
    if named in _ATTENTION or _is_squeeze(name):
        return named
    if layer.groups > 1:
        return "depthwise" if layer.groups == layer.in_channels else "spatial"
    return "pointwise" if tuple(layer.kernel_size) == (1, 1) else "spatial"


def _is_squeeze(name: str) -> bool:
    return re.search(r"(^|\.)(squeeze_excite|_?se)(\.|_)", name) is not None


def blocks_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The repeated blocks of a network, from the image to the output: for layer-wise rates and for prompts.

    Args:
        module: an encoder, or any network.

    Returns:
        (dotted name, block): the innermost lists of like parts with two or more Linear or Conv2d each (transformer
        layers, residual blocks; not the stages around them). A network without such lists gives its single Linear and
        Conv2d layers.

    Example:
        >>> [name for name, _ in blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 1)))]
        ['0', '2']
    """
    lists = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential) and _holds_blocks(part)
    }
    innermost = [name for name in lists if not any(_stands_in(other, name) for other in lists)]
    found = [
        (f"{name}.{key}" if name else key, block) for name in innermost for key, block in lists[name].named_children()
    ]
    return found or [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]


def _stands_in(inner: str, outer: str) -> bool:
    return inner != outer and (not outer or inner.startswith(f"{outer}."))


def _holds_blocks(part: nn.ModuleList | nn.Sequential) -> bool:
    children = list(part)
    if not children or len({type(child) for child in children}) > 1:
        return False
    return all(sum(isinstance(layer, nn.Linear | nn.Conv2d) for layer in child.modules()) >= 2 for child in children)
