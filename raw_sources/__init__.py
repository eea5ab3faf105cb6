"""Crawl to pages: archives are read, pages extracted, shards of pages written.

Doors: `raw_sources.archives.warc.read_warc` (archive to records), `raw_sources.extractors.registry.extract_html` (bytes
to text), `raw_sources.ingest.pages.read_pages` (archive to pages), `raw_sources.ingest.run.ingest` (folder of archives
to page shards) and `raw_sources.sample_crawl.make.write_sample_crawl` (the sample crawl with its truth file).
"""
