"""Functions of the reference that are not traced: the table has them, or a port does not contain them."""

OPAQUE = {
    "dispatch_attention_fn", "sdpa_attention_forward", "eager_mask", "create_causal_mask", "create_bidirectional_mask",
    "create_sliding_window_causal_mask", "create_bidirectional_sliding_window_mask", "device", "dtype", "get_parameter_device", "get_parameter_dtype",
    "enable_parallelism", "is_torch_version", "apply_lora_scale", "scale_lora_layers", "unscale_lora_layers",
    "disable_mmap", "deprecate", "to_tuple", "keys", "values", "items", "get_interface",
}  # fmt: skip
