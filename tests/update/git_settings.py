"""Git settings that people have, each as a configuration file and environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-checkout", "post-index-change")


class Setting(NamedTuple):
    """``config``: name and value pairs, in which HOME stands for the test's own folder; ``files``: the files there."""

    name: str
    config: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    def environment(self, home: Path) -> dict[str, str]:
        """Write the files below ``home``; returns the variables that make the setting effective."""
        for name, text in self.files:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
            (home / name).chmod(0o755)
        user = (("user.name", "Somebody"), ("user.email", "somebody@example.org"))
        lines = []
        for name, value in (*user, *self.config):
            *section, key = name.split(".")
            title = section[0] + (f' "{".".join(section[1:])}"' if len(section) > 1 else "")
            lines.append(f'[{title}]\n\t{key} = "{value.replace("HOME", str(home))}"\n')
        (home / "gitconfig").write_text("".join(lines))
        variables = {name: value.replace("HOME", str(home)) for name, value in self.variables}
        return {"GIT_CONFIG_GLOBAL": str(home / "gitconfig"), **variables}


def _one(name: str, value: str) -> Setting:
    return Setting(f"{name}={value}", ((name, value),))


def _attributes(line: str, *config: tuple[str, str]) -> Setting:
    return Setting(line, (("core.attributesFile", "HOME/attributes"), *config), files=(("attributes", f"{line}\n"),))


def _variable(name: str, value: str) -> Setting:
    return Setting(f"${name}={value}", variables=((name, value),))


_FAILS = "#!/bin/sh\necho a hook of the user >&2\nexit 1\n"
_PLAIN = """
apply.whitespace=error apply.whitespace=error-all apply.whitespace=fix apply.ignoreWhitespace=change
core.whitespace=trailing-space,space-before-tab,tab-in-indent,blank-at-eof
core.autocrlf=true core.autocrlf=input core.eol=crlf core.abbrev=40 core.bigFileThreshold=1 core.checkStat=minimal
core.compression=0 core.fileMode=false core.fsmonitor=/bin/false core.ignoreCase=true core.logAllRefUpdates=false
core.pager=false core.precomposeUnicode=true core.quotePath=false core.splitIndex=true core.symlinks=false
core.untrackedCache=true feature.manyFiles=true index.version=4
advice.statusHints=false branch.autoSetupRebase=always checkout.defaultRemote=elsewhere clone.defaultRemoteName=elsewhere
color.diff=always color.status=always color.ui=always column.ui=always commit.gpgSign=true commit.verbose=true
diff.algorithm=histogram diff.algorithm=patience diff.colorMoved=zebra diff.context=0 diff.external=/bin/false
diff.ignoreSubmodules=all diff.interHunkContext=100 diff.mnemonicPrefix=true diff.noprefix=true diff.relative=true
diff.renames=copies diff.submodule=log diff.suppressBlankEmpty=true diff.wordRegex=.
fetch.prune=true gc.auto=1 init.defaultBranch=trunk log.showSignature=true
merge.conflictStyle=diff3 merge.conflictStyle=zdiff3 merge.renames=false safe.bareRepository=explicit
status.branch=true status.relativePaths=false status.short=true status.showStash=true status.showUntrackedFiles=all
status.showUntrackedFiles=no status.renames=copies status.submoduleSummary=true
alias.status=log attr.tree=HEAD commit.cleanup=strip commit.template=/nowhere core.bare=true core.commentChar=U
core.ignoreStat=true core.sharedRepository=group core.sparseCheckout=true core.trustctime=false core.useReplaceRefs=false
core.worktree=HOME diff.autoRefreshIndex=false feature.experimental=true i18n.commitEncoding=UTF-16
i18n.logOutputEncoding=UTF-16 index.sparse=true init.defaultObjectFormat=sha256 init.defaultRefFormat=reftable
merge.default=union merge.renormalize=true pager.status=true protocol.version=0 rerere.enabled=true
trace2.normalTarget=true transfer.fsckObjects=true submodule.recurse=true tag.gpgSign=true user.useConfigOnly=true
""".split()
SETTINGS = (
    *(_one(*entry.split("=", 1)) for entry in _PLAIN),
    Setting("core.safecrlf", (("core.safecrlf", "true"), ("core.autocrlf", "true"))),
    Setting("core.hooksPath", (("core.hooksPath", "HOME/hooks"),), files=tuple((f"hooks/{n}", _FAILS) for n in HOOKS)),
    Setting(
        "init.templateDir",
        (("init.templateDir", "HOME/template"),),
        files=(("template/info/exclude", "*\n"), *((f"template/hooks/{name}", _FAILS) for name in HOOKS)),
    ),
    Setting(
        "core.excludesFile", (("core.excludesFile", "HOME/ignore"),), files=(("ignore", "*.rej\n*.md\nporting/\n"),)
    ),
    Setting("diff.orderFile", (("diff.orderFile", "HOME/order"),), files=(("order", "tests/*\nsrc/*\n"),)),
    _attributes("* -text"),
    _attributes("* text=auto eol=crlf"),
    _attributes("* text eol=lf"),
    _attributes("* binary"),
    _attributes("* -diff -merge"),
    _attributes("*.py merge=ours", ("merge.ours.driver", "true")),
    _attributes("*.py diff=shown", ("diff.shown.textconv", "/bin/false"), ("diff.shown.command", "/bin/false")),
    _attributes("*.py filter=same", ("filter.same.clean", "cat"), ("filter.same.smudge", "cat")),
    _attributes("*.py ident"),
    _attributes("* merge=union"),
    _attributes("* conflict-marker-size=20"),
    _attributes("*.md working-tree-encoding=ISO-8859-1"),
    _attributes("*.py export-ignore"),  # keep this last: tests of all settings together use it
    _variable("GIT_ATTR_SOURCE", "HEAD"),
    _variable("GIT_COMMON_DIR", "/nowhere"),
    _variable("GIT_DEFAULT_REF_FORMAT", "reftable"),
    _variable("GIT_GLOB_PATHSPECS", "1"),
    _variable("GIT_INTERNAL_SUPER_PREFIX", "x/"),
    _variable("GIT_NAMESPACE", "x"),
    _variable("GIT_REPLACE_REF_BASE", "refs/heads"),
    _variable("GIT_SHALLOW_FILE", "HOME/shallow"),
    _variable("GIT_TRACE2", "1"),
    _variable("GIT_DIR", "/nowhere"),
    _variable("GIT_WORK_TREE", "HOME"),
    _variable("GIT_INDEX_FILE", "HOME/index"),
    _variable("GIT_OBJECT_DIRECTORY", "HOME/objects"),
    _variable("GIT_EXTERNAL_DIFF", "/bin/false"),
    _variable("GIT_DIFF_OPTS", "--unified=0"),
    _variable("GIT_LITERAL_PATHSPECS", "1"),
    _variable("GIT_DEFAULT_HASH", "sha256"),
    _variable("GIT_CONFIG_PARAMETERS", "'apply.whitespace=error' 'core.autocrlf=true'"),
    _variable("GIT_TRACE", "1"),
    _variable("LC_ALL", "de_DE.UTF-8"),
    Setting(
        "$GIT_CONFIG_COUNT",
        variables=(("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "diff.noprefix"), ("GIT_CONFIG_VALUE_0", "true")),
    ),
)
