"""One module per shared file of mflux, in the order in which a reviewer reads them.

Each module has ``ID``, ``FILE`` (relative to the checkout), ``REQUIRED`` (every mflux checkout has the file),
``not_applicable(port)`` (a reason, or None) and ``blocks(source, port)``: every text that the port needs in the file.
``blocks`` raises UnknownShape when the file has a layout that it does not recognise. ``NEW_FILE`` marks a file that the
surface creates. ``read_back(source, port, wired)`` returns what is wrong in an edited file, or None.
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
