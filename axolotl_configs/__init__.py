"""The demo, and realistic configurations; `quickstart_data.py` makes what the demo trains on."""
