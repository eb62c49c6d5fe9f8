"""Networks of transformers for text classification: with random weights, from the Hugging Face Hub or a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import float32

from firstlight.data.tokenizer_errors import convert_tokenizer_errors, probe_tokenizer, silence_panics
from firstlight.data.word_tokenizer import validate_text_packages
from firstlight.distributed.deferred_init import build_on_meta_if_deferred
from firstlight.model.hub_weights import describe_loading_error, show_hub_download
from firstlight.model.pretrained import WeightsReport, build_report, print_report
from firstlight.run.errors import CheckpointError, ConfigError, UserError, invalid_value, unknown_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD_TOKEN = "[PAD]"
# Keys of a saved config that its class does not accept as arguments.
CONFIG_METADATA = ("model_type", "transformers_version")


def build_text_network(architecture: str, tokenizer: PreTrainedTokenizerFast, config: dict[str, Any]) -> Any:
    """Build a network with random weights.

    Args:
        architecture: transformers' `model_type`, such as distilbert.
        tokenizer: Tokenizer of the network, whose number of tokens and special tokens the config gets.
        config: Arguments of the architecture's config class.

    Raises:
        ConfigError: If the architecture does not exist, or the network has fewer embeddings than there are tokens.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    validate_architecture(architecture)
    vocab_size, num_tokens = config.get("vocab_size", len(tokenizer)), len(tokenizer)
    if vocab_size < num_tokens:
        expected = f"a value of at least {num_tokens} (the size of the vocabulary)"
        fix = "Increase or omit model.config_overrides.vocab_size."
        raise ConfigError(invalid_value("model.config_overrides.vocab_size", vocab_size, expected, fix))
    special_tokens = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id if tokenizer.bos_token else tokenizer.cls_token_id,
        "eos_token_id": tokenizer.eos_token_id if tokenizer.eos_token else tokenizer.sep_token_id,
    }
    arguments = {**special_tokens, **config, "vocab_size": vocab_size}
    for name in CONFIG_METADATA:  # of a saved config
        arguments.pop(name, None)
    with build_on_meta_if_deferred():
        return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(architecture, **arguments))


def validate_architecture(architecture: str) -> None:
    """Check that transformers has a text classifier of an architecture.

    Raises:
        ConfigError: If there is none.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    if architecture not in KNOWN:
        raise ConfigError(f"{unknown_name('model.architecture', architecture, KNOWN)[:400]} Use e.g. distilbert.")


def validate_config_overrides(architecture: str, overrides: dict[str, Any]) -> None:
    """Check that the config of an architecture has these keys; transformers accepts any.

    Raises:
        ConfigError: If it lacks one.
    """
    from transformers import AutoConfig

    validate_architecture(architecture)
    config = AutoConfig.for_model(architecture)
    known = {*config.to_dict(), *config.attribute_map} - {*CONFIG_METADATA}
    for name in overrides:
        if name not in known and not hasattr(config, name):
            raise ConfigError(unknown_name("setting", name, sorted(known), prefix="model.config_overrides."))


def load_text_network(
    weights: str, overrides: dict[str, Any], trust_remote_code: bool, architecture: str | None = None, hint: str = ""
) -> tuple[PreTrainedTokenizerFast, Any]:
    """Load a tokenizer and a network from the Hub or a local directory, in float32; print the number of tensors.

    Args:
        weights: Name on the Hub, or a local directory.
        overrides: Arguments that override the saved config.
        trust_remote_code: Whether Python code that comes with the weights may run.
        architecture: transformers' `model_type` that the weights must have. If None, any.
        hint: Last words of the message about weights that cannot be loaded.

    Raises:
        MissingPackageError: If transformers is not installed.
        ConfigError: If the weights contain code and `trust_remote_code` is False.
        CheckpointError: If the weights cannot be loaded, or belong to another architecture.
    """
    validate_text_packages()
    fix = "Use a directory or Hub model with safetensors weights, or " + (hint or "model.weights=null.")
    try:
        config, remote_code = read_config(weights)
        validate_permission(weights, remote_code, trust_remote_code)
        if architecture is not None and not remote_code:
            validate_saved_architecture(weights, config.get("model_type"), architecture)
        with show_hub_download(weights):
            tokenizer = load_tokenizer(weights, remote_code, fix)
            network, info = from_pretrained(weights, remote_code, overrides)
    except UserError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(describe_loading_error(weights, error, fix, hint)) from error
    validate_fast_tokenizer(weights, tokenizer)
    add_pad_token(tokenizer, network)
    report = report_loading_info(network, info)
    report.check(f"model.weights={weights}", fix)
    print_report(report.format())
    return tokenizer, network


def load_tokenizer(weights: str, remote_code: bool, fix: str) -> Any:
    """Load the tokenizer of weights, and try it.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    from transformers import AutoTokenizer

    with convert_tokenizer_errors(f"the tokenizer of model.weights={weights}", fix), silence_panics():
        tokenizer = AutoTokenizer.from_pretrained(weights, trust_remote_code=remote_code)
        probe_tokenizer(tokenizer)
    return tokenizer


def validate_fast_tokenizer(weights: str, tokenizer: Any) -> None:
    """Check that a tokenizer can be saved in a checkpoint.

    Raises:
        CheckpointError: If it has no tokenizer.json.
    """
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(
            f"the tokenizer of model.weights={weights} has no tokenizer.json ({type(tokenizer).__name__}), so it "
            "cannot be saved in a checkpoint. Use weights with a fast tokenizer."
        )


def from_pretrained(weights: str, remote_code: bool, overrides: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a network in float32, and transformers' loading info."""
    from transformers import AutoModelForSequenceClassification

    network, info = AutoModelForSequenceClassification.from_pretrained(
        weights,
        use_safetensors=True,
        trust_remote_code=remote_code,
        dtype=float32,  # training in the half precision of some published weights would lose small updates
        ignore_mismatched_sizes=True,  # the head for other classes is new
        output_loading_info=True,
        **overrides,
    )
    return network, info


def validate_saved_architecture(weights: str, found: str | None, architecture: str) -> None:
    """Check the architecture of saved weights.

    Raises:
        CheckpointError: If they belong to another one.
    """
    if found != architecture:
        raise CheckpointError(
            f"model.weights={weights} has the architecture {found}, but this model requires {architecture}. Use "
            f"model=text_classifier model.weights={weights}."
        )


def read_config(source: str) -> tuple[dict[str, Any], bool]:
    """Return the config on the Hub or in a directory, and whether it or the tokenizer refers to Python code."""
    from transformers import PreTrainedConfig
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    config, _ = PreTrainedConfig.get_config_dict(source)
    return config, "auto_map" in config or "auto_map" in get_tokenizer_config(source)


def validate_permission(weights: str, remote_code: bool, trust_remote_code: bool) -> None:
    """Check that Python code that comes with the weights may run.

    Raises:
        ConfigError: If it may not.
    """
    if remote_code and not trust_remote_code:
        raise ConfigError(
            f"model.weights={weights} contains custom Python code. Review it, then set model.trust_remote_code=true "
            "to run it, or use other weights."
        )


def add_pad_token(tokenizer: PreTrainedTokenizerFast, network: Any) -> None:
    """Let a tokenizer and a network without a padding token, as GPT-2, pad with the end-of-text token or a new one."""
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    elif tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    if len(tokenizer) > network.get_input_embeddings().num_embeddings:
        network.resize_token_embeddings(len(tokenizer))
    network.config.pad_token_id = tokenizer.pad_token_id


def report_loading_info(network: Any, info: dict[str, Any]) -> WeightsReport:
    """Return the report for the loading info of transformers; all tensors outside the base model are the head."""
    mismatched = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    prefix = f"{network.base_model_prefix}."
    return build_report(
        network.state_dict(),
        {*info["missing_keys"], *mismatched},
        {*info["unexpected_keys"], *mismatched},
        lambda name: not name.startswith(prefix),
    )


def find_max_tokens(network: Any) -> int | None:
    """Return the maximum length of a text in tokens; None if it is unlimited."""
    num_positions = getattr(network.config, "max_position_embeddings", None)
    if num_positions is None or num_positions < 1:
        return None
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            # RoBERTa and its descendants count positions from the position after the padding index.
            return int(num_positions - module.padding_idx - 1)
    return int(num_positions)
