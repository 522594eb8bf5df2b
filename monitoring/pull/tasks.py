"""Celery's entrances: an id in, the verb called, nothing else."""

from celery import shared_task

from monitoring.pull import pulling, scraping


@shared_task(name="pull.pull")
def pull(query_id: int) -> None:
    pulling.pull(query_id)


@shared_task(name="pull.scrape")
def scrape(scrape_id: int) -> None:
    scraping.scrape(scrape_id)


@shared_task(name="pull.read_host")
def read_host(host_id: int) -> None:
    scraping.read_host(host_id)
