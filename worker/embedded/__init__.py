"""The whole stack on one machine, without docker and without system services: `python -m worker.embedded`.

Real PostgreSQL and a real Redis-compatible server (Valkey) from pip-installed binaries, then the same api, scheduler,
checker and worker that `docker-compose.yml` runs. `DATABASE_URL` or `REDIS_URL` in the environment replaces the
embedded one.
"""
