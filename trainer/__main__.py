"""``python -m trainer`` and the program ``trainer``, quick to begin."""

from edge_agent.base.program import begin_program


def main() -> None:
    """Run the command line; an interrupt ends it quietly from here on."""
    begin_program()
    from trainer.cli import main as run

    run()


if __name__ == "__main__":
    main()
