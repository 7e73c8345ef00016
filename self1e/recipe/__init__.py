"""How the bundled model is trained again: data, views, stages."""
