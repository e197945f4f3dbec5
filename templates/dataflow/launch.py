"""What the launcher of the Flex Template starts: `ingest`, with the template's parameters as options."""

import sys

from beam_pipeline.__main__ import main
from beam_pipeline.dataflow import launcher_arguments
from beam_pipeline.options import INGEST, STREAMED

if __name__ == "__main__":
    sys.argv[1:] = launcher_arguments(sys.argv[1:], (*INGEST, *STREAMED))
    sys.exit(main())
