"""Kinds of damage to a file: each function here returns a function that damages a world."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from tests.bad_input.world import World, remove

Damage = Callable[[World], None]


def gone(name: str) -> Damage:
    return lambda world: remove(world.path(name))


def folder(name: str) -> Damage:
    """Put a folder in the file's place."""

    def damage(world: World) -> None:
        remove(world.path(name))
        world.path(name).mkdir(parents=True)

    return damage


def loop(name: str) -> Damage:
    """Make the file a link to itself, which cannot be read."""

    def damage(world: World) -> None:
        remove(world.path(name))
        world.path(name).symlink_to(world.path(name).name)

    return damage


def holds(name: str, data: bytes) -> Damage:
    """Replace the content; a folder becomes a file."""

    def damage(world: World) -> None:
        remove(world.path(name))
        world.write(name, data)

    return damage


def ends(name: str, data: bytes) -> Damage:
    """Append text."""
    return lambda world: world.write(name, world.path(name).read_bytes() + data) and None


def begins(name: str, data: bytes) -> Damage:
    return lambda world: world.write(name, data + world.path(name).read_bytes()) and None


def outside(name: str) -> Damage:
    """Move the file or folder out of the checkout, and leave a link in its place."""

    def damage(world: World) -> None:
        target = world.home / "outside" / name.replace("/", "-")
        target.parent.mkdir(exist_ok=True)
        shutil.move(world.path(name), target)
        world.path(name).symlink_to(target)

    return damage


def both(*damages: Damage) -> Damage:
    def damage(world: World) -> None:
        for one in damages:
            one(world)

    return damage
