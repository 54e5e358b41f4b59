"""Who is who on the broker: the hub's certificate authority and enrolment.

``ca`` makes and signs, ``service`` remembers (one-time tokens, what was issued, what
was revoked), ``access`` says who may speak, ``broker`` writes mosquitto's
configuration from both, ``enforcement`` keeps the broker to it.
"""
