"""MQTT: the link itself (the only file that imports paho), the relay and the twin."""
