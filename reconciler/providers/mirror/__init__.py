"""The base of every export of an audience: a destination says how a batch is sent, everything else happens here."""
