"""Where bytes live: S3, HTTP and whatever fsspec has a driver for, behind `corpusmith.io.storage`."""
