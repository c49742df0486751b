"""The checker: `python -m worker.checker`. It looks at datasets and checkpoints before a job may use them.

    checker            owns the row of what it checks, and knows the database; loads no libraries
      fork server      has loaded torch and transformers once; knows no credentials
        check          one process for each check: bounded in memory, time and file sizes, without network

Any number of copies may run; no training occupies them.
"""
