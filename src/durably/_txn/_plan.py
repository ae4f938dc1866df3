"""From what is staged to the operations that publish it."""

from __future__ import annotations

from durably._txn._course import changed
from durably._txn._operations import Identity, Operation
from durably._txn._states import found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._txn._staged import Tree
    from durably._txn._staging import Staging


def operations(staging: Staging) -> list[Operation]:
    """What is to be published, by directory."""
    trees = [_tree(staging, tree) for tree in staging.trees.values()]
    files = [
        Operation(parts[:-1], parts[-1], staged=file.staged, old=staging.met[parts])
        for parts, file in staging.files.items()
        if file.tree is None and not (file.staged is None and staging.met[parts] is None)
    ]
    # A tree that only a failed write, or a removal, has left is not published.
    full = [each for each in trees if each.inside and any(each.inside.values())]
    return sorted([*full, *files], key=lambda each: each.where)


def _tree(staging: Staging, tree: Tree) -> Operation:
    target = tree.target
    # The inner before the outer: in that order they are flushed.
    inside: dict[str, Identity | None] = {"/".join(parts): None for parts in reversed(tree.made)}
    for parts, file in staging.files.items():
        if file.tree is tree:
            inside["/".join(parts[len(target) :])] = Identity(0, 0, 0)
    return Operation(target[:-1], target[-1], staged=tree.staged, inside=inside)


def verify(staging: Staging) -> None:
    """Raise where a file no longer holds what it must."""
    root = staging.root
    for parts, file in staging.files.items():
        if isinstance(file.expected, bytes):
            directory = root.walk(parts[:-1])
            try:
                there = found(root, directory, parts[-1])
                if there is None or staging.content(directory, parts[-1]) != file.expected:
                    raise changed(root, parts)
            finally:
                root.leave(directory)
