"""``python -m hub`` and the program ``hub``, quick to begin."""

from edge_agent.base.program import begin_program


def main() -> None:
    """Run the command line; an interrupt ends it quietly from here on."""
    begin_program()
    from hub.cli import main as run

    run()


if __name__ == "__main__":
    main()
