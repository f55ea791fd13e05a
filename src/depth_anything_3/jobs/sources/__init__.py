"""Images beyond folders: object stores, web addresses, webdataset tars, parquet files, CSV and COCO lists."""
