"""Answers of the ports that these tests make."""

FULL = {
    "model": "nova_image",
    "hf_repo": "acme/Nova-Image-Turbo",
    "display_name": "Nova-Image",
    "vae": "flux2",
    "text_encoder": "qwen3",
    "training": True,
    "checkpoints": [
        {
            "key": "nova-image-turbo",
            "hf_repo": "acme/Nova-Image-Turbo",
            "aliases": ["nova-image", "nova-turbo"],
            "steps": 8,
            "guidance": 1.0,
            "supports_guidance": False,
        },
        {
            "key": "nova-image-base",
            "hf_repo": "acme/Nova-Image",
            "aliases": ["nova-base"],
            "steps": 40,
            "guidance": 4.0,
            "supports_guidance": True,
        },
    ],
}
PLAIN = {
    "model": "quiet",
    "hf_repo": "org/Quiet",
    "guidance": 1.0,
    "steps": 4,
    "vae": "own",
    "text_encoder": "own",
    "lora": False,
    "training": False,
    "img2img": False,
    "negative_prompt": False,
}

# Small enough to generate an image on a CPU with the port's own command.
_TRANSFORMER = {"hidden_size": 128, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
SIZES = {
    "transformer_overrides": {**_TRANSFORMER, "context_dim": 128},
    "text_encoder_overrides": {
        "vocab_size": 320,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
    },
}


def runnable(answers: dict) -> dict:
    """The same port with its own components, at sizes that run anywhere."""
    entry = {"key": answers["model"].replace("_", "-"), "hf_repo": answers["hf_repo"]}
    checkpoints = [{**one, **SIZES} for one in answers.get("checkpoints", [entry])]
    return {**answers, "vae": "own", "text_encoder": "own", "checkpoints": checkpoints}
