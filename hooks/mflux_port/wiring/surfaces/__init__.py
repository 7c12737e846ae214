"""One module per shared file of mflux. In the order in which people go through them.

Each module has ``ID``, ``FILE`` (relative to the checkout), ``REQUIRED`` (without it this is no mflux checkout),
``not_applicable(port)`` (a reason, or None) and ``blocks(source, port)``: every piece of text that the port needs in the
file. ``blocks`` raises UnknownShape when the file is not in a form it knows. ``NEW_FILE`` marks files that the surface
creates.
"""

from mflux_port.wiring.surfaces import (
    changelog,
    ci_extract,
    completions,
    defaults,
    gitignore,
    model_checker,
    model_config,
    model_revisions,
    pyproject,
    readme_acknowledgement,
    readme_table,
    save,
    training_example,
    training_runner,
)

SURFACES = (
    pyproject,
    model_config,
    defaults,
    save,
    training_runner,
    training_example,
    gitignore,
    readme_table,
    readme_acknowledgement,
    changelog,
    completions,
    model_revisions,
    model_checker,
    ci_extract,
)
