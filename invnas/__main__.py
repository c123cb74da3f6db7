"""`python -m invnas` is the command line."""

from invnas.cli import main

raise SystemExit(main())
