"""``python -m edge_agent``."""

from edge_agent.base.program import begin_quietly

if __name__ == "__main__":
    begin_quietly()
    from edge_agent.cli import main

    main()
