"""The site: `python -m sphinx -n -W --keep-going -b html docs OUT`, with the dependency group "docs"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from docutils import nodes
from sphinx import addnodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import durably
from durably._cli.main import cli

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import desc_content, pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "durably"
author = "The durably developers"
copyright = author  # noqa: A001 # Sphinx calls it so
version = release = durably.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "figures/comparison.md"]  # the last is a part of other pages
nitpicky = True
default_role = "py:obj"
smartquotes = False

html_theme = "furo"
html_title = f"durably {release}"
html_static_path = ["_static"]
html_css_files = ["durably.css"]
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
html_copy_source = False
pygments_dark_style = "github-dark"
copybutton_exclude = ".linenos, .gp, .go"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# What others document, which is not asked for over the network.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(collections|fsspec|io|os|pathlib|str|typing|types)\..*",
    ),
    (r"py:.*", r"(IO|Any|Literal|Mapping|Sequence|Generator|Iterator|Callable|Unpack|Buffer|gzip)"),
    # Names for type checkers: the docstrings say what they stand for.
    (r"py:.*", r"(StrPath|SaveOptions|Precondition|F_co|TextMode|WriteMode|UpdateMode|Answer|.*\.Installed)"),
]

# Given by public functions, and not to be made by others: they have no public name of their own.
GIVEN = {
    name: f"durably.{room}.{name}"
    for room, names in {
        "_batch.writer": ["BatchWriter"],
        "_receipts": ["Promise", "Receipts", "Recovered", "Swept", "TransactionReceipt"],
        "_transaction.writer": ["StagedFile", "TransactionWriter"],
    }.items()
    for name in names
}


def no_overloads(*_: object) -> dict[str, list[object]]:
    """One signature for each function: five for `durably.open` say less than its docstring does."""
    return {}


ModuleAnalyzer.overloads = property(no_overloads, no_overloads)

_TERM = re.compile(r"((?:``[^`]+``(?:, )?)+): (.*)")
_SYSTEM = re.compile(r"\]\((?:\.\./)+platforms/(linux|macos|windows)/README\.md(#[\w-]*)?\)")


def terms_as_a_list(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Lines such as "``path``: what it is" become a definition list."""
    new: list[str] = []
    inside = False
    for line in lines:
        term = _TERM.fullmatch(line)
        if term is not None:
            inside = True
            new += [term[1], f"    {term[2]}"]
        elif inside and line and not line[0].isspace():
            new.append(f"    {line}")
        else:
            inside = False
            new.append(line)
    lines[:] = new


def hide_private_rooms(app: Sphinx, domain: str, kind: str, content: desc_content) -> None:
    """Show `durably._receipts.Promise` as `Promise`: the room is nobody's business."""
    for name in content.parent.findall(addnodes.desc_addname):
        if "._" in name.astext():
            name.parent.remove(name)


def find_given(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: Element
) -> nodes.reference | None:
    """The place of what has no public name, or is named by its private one."""
    target = str(node.get("reftarget", "")).strip()
    last = target.rpartition(".")[2]
    public = f"durably.{last}" if last in durably.__all__ else None
    full = GIVEN.get(last) or public
    if node.get("refdomain") != "py" or full is None or full == target:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, shown)


def link_systems(app: Sphinx, page: str, text: list[str]) -> None:
    """The pages of platforms/ are part of the site, elsewhere."""
    text[0] = _SYSTEM.sub(lambda found: f"](/explanation/{found[1]}.md{found[2] or ''})", text[0])


class Commands(SphinxDirective):
    """The help of each command, as the command itself prints it."""

    def run(self) -> list[nodes.Node]:
        """A section for the group, and one for each command."""
        group = click.Context(cli, info_name="durably", terminal_width=80, **cli.context_settings)
        return [
            self._section(group),
            *(
                self._section(click.Context(command, group, info_name=name, terminal_width=80))
                for name, command in cli.commands.items()
            ),
        ]

    def _section(self, context: click.Context) -> nodes.section:
        title, text = context.command_path, context.get_help()
        section = nodes.section("", nodes.title(title, title), ids=[nodes.make_id(title)], names=[title])
        section += nodes.literal_block(text, text, language="text")
        return section


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions above."""
    app.add_directive("commands", Commands)
    app.connect("autodoc-process-docstring", terms_as_a_list)
    app.connect("object-description-transform", hide_private_rooms)
    app.connect("missing-reference", find_given)
    app.connect("source-read", link_systems)
    return {"parallel_read_safe": True}
