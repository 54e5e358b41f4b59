"""The model interpreter behind one port.

Callers use :class:`~edge_agent.runtime.port.Model` and
:func:`~edge_agent.runtime.litert.load_model`; nothing else imports LiteRT. The
trainer's gate judges with this very code, so it judges what a device will run.
"""
