"""Crawl to pages: archives are read, pages extracted, shards of pages written.

Doors: `raw_sources.warc.read_warc` (archive to records), `raw_sources.extract.extract_html` (bytes to text),
`raw_sources.pages.read_pages` (archive to pages), `raw_sources.ingest.ingest` (folder of archives to page shards)
and `raw_sources.sample.write_sample_crawl` (the sample crawl with its truth file).
"""
