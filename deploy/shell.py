"""Commands of others whose answer is wanted; what they complain of goes to the terminal."""

import subprocess

from aparella.errors import ConfigurationError


def answer(*words: str, default: str | None = None) -> str:
    """Run a command and return what it says.

    Args:
        words: the command line.
        default: what counts as the answer if it fails.

    Raises:
        ConfigurationError: it fails, and there is no default.
    """
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode and default is None:
        raise ConfigurationError(f"{' '.join(words[:3])} failed; the reason stands above.")
    return done.stdout.strip() if default is None or not done.returncode else default
