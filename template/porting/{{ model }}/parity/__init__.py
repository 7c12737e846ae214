"""Compare a port with its PyTorch reference, stage by stage and module by module.

Needs numpy, safetensors' file format and pillow on top of what each side has. Nothing in here is imported by the port.
"""
