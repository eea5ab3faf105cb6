"""Archives to records: WARC, ARC, WAT and HTTP messages, streamed and bounded."""

VERSION = 1
