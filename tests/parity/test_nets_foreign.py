"""Published key layouts, read with random weights, give what a reference network in plain torch gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from foreign import (
    BERT_WORDS,
    CLIP_WORDS,
    DEPTH,
    ENCODERS,
    HEADS,
    IMAGE,
    JOINT,
    PATCH,
    SIDE,
    TEXTS,
    WIDTH,
    Noise,
    bert_folder,
    clip_folder,
    clip_state,
    clip_vocabulary,
    flair_text_state,
    resnet_state,
    saved,
    vit_state,
)  # fmt: skip
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.learn.features.runtime import Runner
from tapetum.nets import build_encoder, build_text_encoder

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def images(size: int = IMAGE, count: int = 3) -> Tensor:
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(1))


def layer_norm(s: dict[str, Tensor], name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), s[f"{name}.weight"], s[f"{name}.bias"], eps)


def linear(s: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Softmax attention written out, head by head."""
    width = q.shape[-1] // heads
    out: list[Tensor] = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(-1, -2) / width**0.5
        out.append((scores if mask is None else scores + mask).softmax(-1) @ v[..., part])
    return torch.cat(out, -1)


def vit_reference(s: dict[str, Tensor], x: Tensor, positions: Tensor | None = None) -> Tensor:
    """All tokens before the last norm."""
    patches = F.conv2d(x, s["patch_embed.proj.weight"], s["patch_embed.proj.bias"], stride=PATCH)
    tokens = patches.flatten(2).transpose(1, 2)
    positions = s["pos_embed"] if positions is None else positions
    first = s["cls_token"].expand(len(x), -1, -1)
    if positions.shape[1] == tokens.shape[1]:  # the class token has no position
        tokens = torch.cat([first, tokens + positions], 1)
    else:
        tokens = torch.cat([first, tokens], 1) + positions
    if "reg_token" in s:
        tokens = torch.cat([tokens[:, :1], s["reg_token"].expand(len(x), -1, -1), tokens[:, 1:]], 1)
    for i in range(DEPTH):
        b = f"blocks.{i}"
        q, k, v = linear(s, f"{b}.attn.qkv", layer_norm(s, f"{b}.norm1", tokens)).chunk(3, -1)
        y = linear(s, f"{b}.attn.proj", attention(q, k, v, HEADS))
        tokens = tokens + y * s.get(f"{b}.ls1.gamma", torch.ones(1))
        y = linear(s, f"{b}.mlp.fc1", layer_norm(s, f"{b}.norm2", tokens))
        if s[f"{b}.mlp.fc2.weight"].shape[1] != y.shape[-1]:
            gate, value = y.chunk(2, -1)
            y = F.silu(gate) * value
        else:
            y = F.gelu(y)
        tokens = tokens + linear(s, f"{b}.mlp.fc2", y) * s.get(f"{b}.ls2.gamma", torch.ones(1))
    return tokens


def built(family: str, **options: Any) -> Any:
    return build_encoder(f"{family}({', '.join(f'{k}={v!r}' for k, v in options.items())})")


def check(encoder: Any, x: Tensor, blocks: dict[str, Tensor], tokens: Tensor) -> None:
    with torch.no_grad():
        got = encoder(x)
        torch.testing.assert_close(encoder.tokens(x), tokens, **CLOSE)
    assert list(encoder.spec.blocks) == list(blocks)
    for name, (a, b) in encoder.spec.blocks.items():
        torch.testing.assert_close(got[:, a:b], blocks[name], msg=lambda m, n=name: f"{n}: {m}", **CLOSE)


# --- RETFound -------------------------------------------------------------------------------------------------------


def test_retfound_mae_gives_class_token_patches_and_upstreams_pool(tmp_path: Path) -> None:
    state = vit_state()
    published = state | {"decoder_embed.weight": torch.zeros(4, WIDTH), "mask_token": torch.zeros(1, 1, WIDTH)}
    encoder = built("retfound", weights=str(saved(tmp_path, published)), size=IMAGE, heads=HEADS)
    x = images()
    raw = vit_reference(state, x)
    normed = layer_norm(state, "norm", raw)
    pooled = F.layer_norm(raw[:, 1:].mean(1), (WIDTH,), eps=1e-6)
    check(encoder, x, {"pool": pooled, "cls": normed[:, 0], "patch": normed[:, 1:].mean(1)}, normed[:, 1:])
    assert encoder.spec.mean == (0.485, 0.456, 0.406)
    assert encoder.spec.resample == "bicubic"


def test_fine_tuned_retfound_uses_its_own_pool_norm(tmp_path: Path) -> None:
    state = vit_state(norm="fc_norm")
    published = state | {"head.weight": torch.zeros(5, WIDTH), "head.bias": torch.zeros(5)}
    encoder = built("retfound", weights=str(saved(tmp_path, published)), size=IMAGE, heads=HEADS)
    raw = vit_reference(state, images())
    pooled = layer_norm(state, "fc_norm", raw[:, 1:].mean(1))
    check(encoder, images(), {"pool": pooled, "patch": raw[:, 1:].mean(1)}, raw[:, 1:])


@pytest.mark.parametrize("chunked", [False, True])
def test_retfound_dinov2_teacher_with_layer_scale(tmp_path: Path, chunked: bool) -> None:
    state = vit_state(layer_scale=True)
    published = {f"backbone.{k}": v for k, v in state.items()}
    if chunked:  # one block a chunk, numbered over all of them
        published = {k.replace("blocks.", "blocks.0.") if "blocks.0" in k else k.replace("blocks.1", "blocks.1.1"): v
                     for k, v in published.items()}  # fmt: skip
    published |= {"dino_head.last_layer.weight": torch.zeros(2, 2), "backbone.mask_token": torch.zeros(1, WIDTH)}
    encoder = built("retfound", weights=str(saved(tmp_path, published)), size=IMAGE, heads=HEADS)
    normed = layer_norm(state, "norm", vit_reference(state, images()))
    check(encoder, images(), {"cls": normed[:, 0], "patch": normed[:, 1:].mean(1)}, normed[:, 1:])


@pytest.mark.parametrize("side", [6, 2])
@pytest.mark.parametrize("layer_scale", [False, True])
def test_another_size_interpolates_the_positions(tmp_path: Path, layer_scale: bool, side: int) -> None:
    state = vit_state(layer_scale=layer_scale)
    encoder = built("retfound", weights=str(saved(tmp_path, state)), size=side * PATCH, heads=HEADS)
    grid = state["pos_embed"][:, 1:].reshape(1, SIDE, SIDE, WIDTH).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False, antialias=False)
    positions = torch.cat([state["pos_embed"][:, :1], grid.flatten(2).transpose(1, 2)], 1)
    x = images(side * PATCH)
    normed = layer_norm(state, "norm", vit_reference(state, x, positions))
    with torch.no_grad():
        torch.testing.assert_close(encoder.tokens(x), normed[:, 1:], **CLOSE)
    assert encoder.spec.grid == (side, side)


# --- FLAIR ----------------------------------------------------------------------------------------------------------


def resnet_reference(s: dict[str, Tensor], x: Tensor) -> Tensor:
    def norm(name: str, y: Tensor) -> Tensor:
        running = (s[f"{name}.running_mean"], s[f"{name}.running_var"])
        return F.batch_norm(y, *running, s[f"{name}.weight"], s[f"{name}.bias"])

    x = F.max_pool2d(F.relu(norm("bn1", F.conv2d(x, s["conv1.weight"], stride=2, padding=3))), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2 if stage == 2 else 1):
            b, y = f"layer{stage}.{block}", x
            last = 3 if f"{b}.conv3.weight" in s else 2
            at = 2 if last == 3 else 1  # the convolution with the stride
            for number in range(1, last + 1):
                weight = s[f"{b}.conv{number}.weight"]
                stride = 2 if number == at and stage > 1 and block == 0 else 1
                y = norm(f"{b}.bn{number}", F.conv2d(y, weight, stride=stride, padding=weight.shape[-1] // 2))
                y = F.relu(y) if number < last else y
            if f"{b}.downsample.0.weight" in s:
                x = F.conv2d(x, s[f"{b}.downsample.0.weight"], stride=2 if stage > 1 else 1)
                x = norm(f"{b}.downsample.1", x)
            x = F.relu(x + y)
    return x


def test_flair_gives_its_projection_and_the_mean_before_it(tmp_path: Path) -> None:
    trunk = resnet_state()
    matrix = torch.randn(10, 24, generator=torch.Generator().manual_seed(3))
    state = {f"vision_model.model.{k}": v for k, v in trunk.items()}
    state |= {"vision_model.projection_head_vision.projection.weight": matrix, "logit_scale": torch.tensor(2.6)}
    state |= {"text_model.projection_head_text.projection.weight": torch.zeros(10, 16)}
    encoder = built("flair", weights=str(saved(tmp_path, state)), size=64)
    x = images(64)
    tokens = resnet_reference(trunk, x).flatten(2).transpose(1, 2)
    mean = tokens.mean(1)
    joint = (mean / mean.norm(dim=-1, keepdim=True)) @ matrix.T
    joint = joint / joint.norm(dim=-1, keepdim=True)
    check(encoder, x, {"projection": joint, "avg": mean}, tokens)
    assert encoder.spec.mean == (0.0, 0.0, 0.0)
    assert encoder.spec.std == (1.0, 1.0, 1.0)


# --- timm -----------------------------------------------------------------------------------------------------------


def convnext_state(*, second: bool) -> dict[str, Tensor]:
    noise, widths = Noise(), (8, 12)
    noise.add("stem.0.weight", widths[0], 3, 4, 4)
    noise.add("stem.0.bias", widths[0])
    noise.norm("stem.1", widths[0])
    for stage, width in enumerate(widths):
        if stage:
            noise.norm(f"stages.{stage}.downsample.0", widths[0])
            noise.add(f"stages.{stage}.downsample.1.weight", width, widths[0], 2, 2)
            noise.add(f"stages.{stage}.downsample.1.bias", width)
        b = f"stages.{stage}.blocks.0"
        noise.add(f"{b}.conv_dw.weight", width, 1, 7, 7)
        noise.add(f"{b}.conv_dw.bias", width)
        noise.norm(f"{b}.norm", width)
        noise.linear(f"{b}.mlp.fc1", width, 4 * width)
        noise.linear(f"{b}.mlp.fc2", 4 * width, width)
        if second:
            noise.add(f"{b}.mlp.grn.weight", 4 * width)
            noise.add(f"{b}.mlp.grn.bias", 4 * width)
        else:
            noise.add(f"{b}.gamma", width)
    noise.norm("head.norm", widths[1])
    noise.linear("head.fc", widths[1], 5)
    return noise.state


def convnext_reference(s: dict[str, Tensor], x: Tensor) -> Tensor:
    """The last map, channels last."""
    x = F.conv2d(x, s["stem.0.weight"], s["stem.0.bias"], stride=4).permute(0, 2, 3, 1)
    x = layer_norm(s, "stem.1", x)
    for stage in range(2):
        d, b = f"stages.{stage}.downsample", f"stages.{stage}.blocks.0"
        if stage:
            x = layer_norm(s, f"{d}.0", x).permute(0, 3, 1, 2)
            x = F.conv2d(x, s[f"{d}.1.weight"], s[f"{d}.1.bias"], stride=2).permute(0, 2, 3, 1)
        weight = s[f"{b}.conv_dw.weight"]
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, s[f"{b}.conv_dw.bias"], padding=3, groups=len(weight))
        y = F.gelu(linear(s, f"{b}.mlp.fc1", layer_norm(s, f"{b}.norm", y.permute(0, 2, 3, 1))))
        if f"{b}.mlp.grn.weight" in s:
            energy = y.square().sum((1, 2), keepdim=True).sqrt()
            energy = energy / (energy.mean(-1, keepdim=True) + 1e-6)
            y = y + s[f"{b}.mlp.grn.weight"] * y * energy + s[f"{b}.mlp.grn.bias"]
        x = x + linear(s, f"{b}.mlp.fc2", y) * s.get(f"{b}.gamma", torch.ones(1))
    return x


def timm_folder(folder: Path, state: dict[str, Tensor], name: str, size: int = IMAGE) -> str:
    """timm's hub layout; the preprocessing stands in `pretrained_cfg`."""
    cfg = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "input_size": [3, size, size], "interpolation": "bicubic"}
    (folder / "config.json").write_text(json.dumps({"architecture": name, "pretrained_cfg": cfg}))
    return str(saved(folder, state).parent)


@pytest.mark.parametrize("second", [False, True])
def test_timm_convnext_gives_the_normed_mean_and_the_map(tmp_path: Path, second: bool) -> None:
    state = convnext_state(second=second)
    folder = timm_folder(tmp_path, state, "convnextv2_atto" if second else "convnext_atto")
    tokens = convnext_reference(state, images()).flatten(1, 2)
    mean = tokens.mean(1)
    encoder = built("timm", weights=folder)
    check(encoder, images(), {"pool": layer_norm(state, "head.norm", mean), "patch": mean}, tokens)
    assert encoder.spec.mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_timm_resnet_of_both_kinds_of_block(tmp_path: Path, bottleneck: bool) -> None:
    state = resnet_state(bottleneck=bottleneck) if bottleneck else resnet_state((8, 12, 16, 24), bottleneck=False)
    folder = timm_folder(tmp_path, state, "resnet50" if bottleneck else "resnet18", 64)
    tokens = resnet_reference(state, images(64)).flatten(2).transpose(1, 2)
    check(built("timm", weights=folder), images(64), {"avg": tokens.mean(1)}, tokens)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layer_scale": True},
        {"layer_scale": True, "class_position": False},
        {"layer_scale": True, "class_position": False, "registers": 3},
        {"layer_scale": True, "gated": True},
    ],
    ids=["vit", "dinov2", "deit3", "registers", "gated"],
)
def test_timm_vision_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    state = vit_state(**options)
    encoder = built("timm", weights=timm_folder(tmp_path, state, "vit_tiny_patch8_32"), heads=HEADS)
    normed = layer_norm(state, "norm", vit_reference(state, images()))
    first = 1 + options.get("registers", 0)
    tokens = normed[:, first:]
    check(encoder, images(), {"cls": normed[:, 0], "patch": tokens.mean(1)}, tokens)


def in_timms_names(state: dict[str, Tensor], *, moved: bool) -> dict[str, Tensor]:
    """A Swin V2 of `transformers` under timm's names; `moved`: patches are merged at the start of a stage."""
    names = (
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"), ("embeddings.norm", "patch_embed.norm"),
        ("encoder.", ""), ("attention.self.continuous_position_bias_mlp", "attn.cpb_mlp"),
        ("attention.self.logit_scale", "attn.logit_scale"), ("attention.self.query.bias", "attn.q_bias"),
        ("attention.self.value.bias", "attn.v_bias"), ("attention.output.dense", "attn.proj"),
        ("layernorm_before", "norm1"), ("layernorm_after", "norm2"), ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"), ("layernorm", "norm"),
    )  # fmt: skip
    new: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key
        for old, other in names:
            name = name.replace(old, other)
        if "query.weight" in key:
            parts = [state[key.replace("query", part)] for part in ("query", "key", "value")]
            name, tensor = name.replace("attention.self.query", "attn.qkv"), torch.cat(parts)  # noqa: PLW2901
        if "downsample" in name and moved:
            name = name.replace("layers.0", "layers.1")
        if "attention" not in name:
            new[name] = tensor
    return new


@pytest.mark.parametrize("moved", [False, True])
def test_timm_swin_v2_by_names_of_both_origins(tmp_path: Path, moved: bool) -> None:
    """Names only, by the network of `transformers`; against timm's own: tests/integration/test_peers.py."""
    import transformers as hf

    config = hf.Swinv2Config(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 2], num_heads=[2, 4], window_size=4,
        pretrained_window_sizes=[0, 0],
    )  # fmt: skip
    torch.manual_seed(0)
    net = hf.Swinv2Model(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        expected = net(pixel_values=images()).last_hidden_state
    state = in_timms_names(net.state_dict(), moved=moved)
    assert any(k.startswith(f"layers.{int(moved)}.downsample.") for k in state)
    encoder = built("timm", weights=timm_folder(tmp_path, state, "swinv2_tiny_window4_32"))
    check(encoder, images(), {"avg": expected.mean(1)}, expected)


# --- open_clip ------------------------------------------------------------------------------------------------------


def clip_block(s: dict[str, Tensor], b: str, x: Tensor, act: Callable[[Tensor], Tensor], mask: Tensor | None) -> Tensor:
    y = layer_norm(s, f"{b}.ln_1", x, 1e-5)
    q, k, v = F.linear(y, s[f"{b}.attn.in_proj_weight"], s[f"{b}.attn.in_proj_bias"]).chunk(3, -1)
    x = x + linear(s, f"{b}.attn.out_proj", attention(q, k, v, HEADS, mask))
    y = act(linear(s, f"{b}.mlp.c_fc", layer_norm(s, f"{b}.ln_2", x, 1e-5)))
    return x + linear(s, f"{b}.mlp.c_proj", y)


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize("quick", [False, True])
def test_open_clip_image_tower(tmp_path: Path, quick: bool) -> None:
    state = clip_state()
    s = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    x = F.conv2d(images(), s["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([s["class_embedding"].expand(len(x), 1, -1), x], 1) + s["positional_embedding"]
    x = layer_norm(s, "ln_pre", x, 1e-5)
    for i in range(DEPTH):
        x = clip_block(s, f"transformer.resblocks.{i}", x, quick_gelu if quick else F.gelu, None)
    whole = layer_norm(s, "ln_post", x[:, 0], 1e-5)
    joint = whole @ s["proj"]
    joint = joint / joint.norm(dim=-1, keepdim=True)
    encoder = built("open_clip", path=str(clip_folder(tmp_path, state, quick_gelu=quick)))
    check(encoder, images(), {"projection": joint, "cls": whole, "patch": x[:, 1:].mean(1)}, x[:, 1:])
    assert encoder.spec.std == (0.2, 0.3, 0.25)


@pytest.mark.parametrize("prefix", ["", "text."])
def test_open_clip_text_tower(tmp_path: Path, prefix: str) -> None:
    state = clip_state(prefix=prefix)
    folder = clip_folder(tmp_path, state)
    words = clip_vocabulary()
    texts = {"no ab": ["no</w>", "a", "b</w>"], "": [], "NO": ["no</w>"], "a " * 20: ["a</w>"] * 10}
    ids = [[words[w] for w in (CLIP_WORDS[0], *said, CLIP_WORDS[1])] for said in texts.values()]
    rows: list[Tensor] = []
    s = {k.removeprefix(prefix): v for k, v in state.items() if not k.startswith("visual.")}
    for tokens in ids:
        x = s["token_embedding.weight"][tokens] + s["positional_embedding"][: len(tokens)]
        mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
        for i in range(DEPTH):
            x = clip_block(s, f"transformer.resblocks.{i}", x, F.gelu, mask)
        rows.append(layer_norm(s, "ln_final", x[-1], 1e-5) @ s["text_projection"])
    expected = F.normalize(torch.stack(rows), dim=-1)
    got = build_text_encoder(f"open_clip(path={str(folder)!r})")(list(texts))
    torch.testing.assert_close(got, expected, **CLOSE)


def bert_rows(net: Any, texts: list[str], states: tuple[int, ...]) -> list[Tensor]:
    """Hidden states of every text alone, so that nothing is padded: states x tokens x columns."""
    ids = {word: i for i, word in enumerate(BERT_WORDS)}
    rows: list[Tensor] = []
    for text in texts:
        tokens = torch.tensor([[ids["[CLS]"], *(ids[w] for w in text.split()), ids["[SEP]"]]])
        with torch.no_grad():
            hidden = net(input_ids=tokens, output_hidden_states=True).hidden_states
        rows.append(torch.stack([hidden[i][0] for i in states]))
    return rows


SAID = ["drusen", "hard exudates in the macula", "no drusen"]


def test_flair_text_tower_averages_three_layers_over_the_tokens(tmp_path: Path) -> None:
    folder, net = bert_folder(tmp_path)
    state = flair_text_state(net)
    path = saved(tmp_path, state)
    got = build_text_encoder(f"flair(path={str(folder)!r}, weights={str(path)!r})")(SAID)
    mean = torch.stack([row.mean((0, 1)) for row in bert_rows(net, SAID, (1, 2, 3))])
    joint = mean @ state["text_model.projection_head_text.projection.weight"].T
    torch.testing.assert_close(got, F.normalize(joint, dim=-1), **CLOSE)


@pytest.mark.parametrize("mlp", [False, True])
def test_open_clip_with_a_bert_inside(tmp_path: Path, mlp: bool) -> None:
    folder, net = bert_folder(tmp_path)
    noise = Noise(4)
    if mlp:
        noise.add("text.proj.0.weight", 14, WIDTH)
        noise.add("text.proj.2.weight", JOINT, 14)
    else:
        noise.add("text.proj.weight", JOINT, WIDTH)
    state = {f"text.transformer.{k}": v for k, v in net.state_dict().items()} | noise.state
    text = {
        "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base", "hf_proj_type": "mlp" if mlp else "linear",
        "hf_pooler_type": "cls_last_hidden_state_pooler" if mlp else "mean_pooler", "context_length": 16,
    }  # fmt: skip
    clip_folder(folder, state, text_cfg=text)
    got = build_text_encoder(f"open_clip(path={str(folder)!r}, heads={HEADS})")(SAID)
    last = bert_rows(net, SAID, (3,))
    pooled = torch.stack([row[0, 0] if mlp else row[0].mean(0) for row in last])
    if mlp:
        joint = F.gelu(pooled @ noise.state["text.proj.0.weight"].T) @ noise.state["text.proj.2.weight"].T
    else:
        joint = pooled @ noise.state["text.proj.weight"].T
    torch.testing.assert_close(got, F.normalize(joint, dim=-1), **CLOSE)


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_building_leaves_the_random_state_alone_and_exports(tmp_path: Path, name: str) -> None:
    spec = ENCODERS[name](tmp_path)
    before = torch.get_rng_state()
    encoder: Any = build_encoder(spec)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.isfinite(v).all() for v in encoder.state_dict().values())
    runner = Runner(encoder, threads=1)
    assert runner.backend == "onnxruntime"
    x = images(encoder.spec.size)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(runner(x.numpy())), encoder(x), **CLOSE)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_building_a_text_tower_leaves_the_random_state_alone(tmp_path: Path, name: str) -> None:
    spec = TEXTS[name](tmp_path)
    before = torch.get_rng_state()
    build_text_encoder(spec)
    assert torch.equal(torch.get_rng_state(), before)


# --- what does not fit ----------------------------------------------------------------------------------------------


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.replace("blocks.1.mlp.fc1", "blocks.1.ffn.fc1"): v for k, v in state.items()}


def _lacking(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k != "blocks.1.attn.proj.bias"}


def _misshapen(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"blocks.0.attn.proj.weight": torch.zeros(WIDTH, WIDTH + 1)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_renamed, r"2 keys of the file that match nothing: blocks\.1\.ffn\.fc1\.bias, blocks\.1\.ffn\.fc1\.weight"),
        (_lacking, r"1 weights that the file lacks: net\.layers\.1\.attention\.o_proj\.bias"),
        (_misshapen, r"other shapes: net\.layers\.0\.attention\.o_proj\.weight \(16, 17\) for \(16, 16\)"),
        (
            lambda s: {"conv1.weight": s["patch_embed.proj.weight"]},
            r"has no patch_embed\.proj\.weight; its 1 keys: conv1",
        ),
    ],
)
def test_another_architecture_is_refused_with_the_keys(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], told: str
) -> None:
    path = saved(tmp_path, change(vit_state()))
    with pytest.raises(ArtefactError, match=told):
        built("retfound", weights=str(path), size=IMAGE, heads=HEADS)


@pytest.mark.parametrize("family", ["retfound", "flair"])
def test_missing_weights_say_which_and_where_from(tmp_path: Path, family: str) -> None:
    with pytest.raises(
        ArtefactError, match=r"model\.safetensors[\s\S]*nothing is ever downloaded[\s\S]*huggingface\.co"
    ):
        built(family, weights=str(tmp_path))


def test_wrong_sizes_and_unknown_heads_are_refused(tmp_path: Path) -> None:
    path = str(saved(tmp_path, vit_state()))
    with pytest.raises(UsageError, match="a multiple of 8"):
        built("retfound", weights=path, size=36, heads=HEADS)
    with pytest.raises(UsageError, match="unknown number of attention heads"):
        built("retfound", weights=path, size=IMAGE)
