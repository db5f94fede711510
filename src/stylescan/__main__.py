"""`python -m stylescan`: the same as the `stylescan` command."""

from stylescan.cli import main

if __name__ == "__main__":
    main()
