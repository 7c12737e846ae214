"""Compare a port with its PyTorch reference, stage by stage and module by module.

In addition to what each side has, it needs numpy, the safetensors file format and pillow. Nothing in here is imported
by the port.
"""
