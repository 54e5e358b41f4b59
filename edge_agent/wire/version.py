"""The protocol version and the rule of compatibility.

An optional field with a default is a compatible change. Anything else raises
``PROTOCOL_VERSION`` and with it the second level of every topic.
"""

PROTOCOL_VERSION = 1
TOPIC_PREFIX = f"shoal/v{PROTOCOL_VERSION}"
