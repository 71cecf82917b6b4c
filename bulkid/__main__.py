"""``python -m bulkid`` does what the ``bulkid`` command does; also the entry point of the program without Python.

That program (``.ci/build_program.py`` makes it) is its own ``sys.executable``: it starts itself as its child process.
"""

import sys


def main() -> None:
    """Run the ``bulkid`` command, or in the program without Python the child process that reads a sheet."""
    if getattr(sys, "frozen", False):
        from bulkid.sheet.child_process import CHILD_OF_PROGRAM

        if sys.argv[1:2] == [CHILD_OF_PROGRAM]:
            from bulkid.sheet import isolated_child

            isolated_child.run()
    from bulkid.cli import main as command

    command()


if __name__ == "__main__":
    main()
