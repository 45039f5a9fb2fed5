"""``python -m multipaxos`` is the same command as ``multipaxos``."""

from multipaxos.cli.main import main

if __name__ == "__main__":
    main()
