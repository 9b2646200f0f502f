"""Build the lesson's website, with the network in the page.

    python -m pip install -r lab/site/requirements.txt
    python -m lab.site --serve

writes the site to lab/site/_build/html and shows it at an address of this
computer. Nothing is executed but the export of the stored networks.
"""

import functools
import http.server
import sys
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.site in the lesson's folder.")

from lab import arguments

BUILD = Path(__file__).resolve().parent / "_build"


def serve(folder, port):
    """Show a folder at an address of this computer until Ctrl+C."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler,
                                directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port),
                                         handler) as server:
        print(f"Open http://127.0.0.1:{server.server_port}, end by Ctrl+C.",
              flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


@arguments.program
def main():
    """Build the site, and show it if asked to."""
    parser = arguments.parser(__doc__)
    parser.prog = "python -m lab.site"
    parser.add_argument("--serve", action="store_true",
                        help="show the site when it is built")
    parser.add_argument("--port", type=arguments.whole_number(0, 65535),
                        default=8000,
                        help="where to show it: 8000, 0 for any free one")
    options = parser.parse_args()
    try:
        from lab.site.build import build
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed; run python -m pip install "
                 "-r lab/site/requirements.txt first.")
    try:
        build(BUILD)
        print(f"The site lies in {BUILD / 'html'}.")
        if options.serve:
            serve(BUILD / "html", options.port)
    except (RuntimeError, OSError) as error:
        sys.exit(f"The site could not be built or shown: {error}.")


if __name__ == "__main__":
    main()
