"""How long a network takes where it will run: settings, a runner, what was timed, and a predictor for what was not."""
