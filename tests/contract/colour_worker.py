"""A real worker process with the model of colours; run as `python -m`."""

from backend.log import configure_logging
from backend.queue import JobQueue
from backend.settings import Settings
from backend.worker import serve_predictor
from tests.contract.scene import ColourPredictor

if __name__ == "__main__":
    settings = Settings()
    configure_logging(settings, "worker")
    serve_predictor(settings, JobQueue.from_settings(settings), ColourPredictor())
