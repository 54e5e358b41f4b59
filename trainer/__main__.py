"""``python -m trainer``: the same as the console script ``trainer``."""

from edge_agent.base.program import begin_quietly

if __name__ == "__main__":
    begin_quietly()
    from trainer.cli import main

    main()
