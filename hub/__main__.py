"""``python -m hub`` is ``hub``."""

from edge_agent.base.program import begin_quietly

if __name__ == "__main__":
    begin_quietly()
    from hub.cli import main

    main()
