"""A real label-studio-ml host; run as `python -m`, writes its port.

"colours"  hosts the model of colours
"loaded"   hosts the model that the settings name
"""

import sys

from werkzeug.serving import make_server

from backend.ml_base import create_ml_app, host_predictor
from backend.settings import Settings
from tests.contract.scene import ColourPredictor

if __name__ == "__main__":
    settings = Settings()
    loaded = sys.argv[1] == "loaded"
    app = create_ml_app(settings) if loaded else host_predictor(settings, ColourPredictor())
    server = make_server("127.0.0.1", 0, app)
    print(server.server_port, flush=True)
    server.serve_forever()
