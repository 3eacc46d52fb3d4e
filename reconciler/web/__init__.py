"""The face that messages come in by: HTTP, in a process of its own.

serve.py      the process: its lock, its socket, its end
app.py        what is served, by path
live.py       live messages: checked, appended to the journal, answered once they are on the disk
bulk.py       bulk bodies: streamed to a file, checked in another process, accepted whole
query.py      what a bulk request says in its query
messages.py   a body of JSON as messages
body.py       bodies as they come over the wire, within their limits
commits.py    the journal's group commit
keys.py       idempotency keys
desk.py       what the endpoints share, and how much is waiting
senders.py    who may send what: the declared streams and tokens
checking.py   the process that goes through bulk bodies
limits.py     every limit
answers.py    what is said, and the errors
describe.py   OpenAPI
metrics.py    Prometheus

It decides nothing and knows no record: the controller writes down what is declared (`rules.json`), it writes journals
(`reconciler.data.journal`), and the controller folds them. So it answers while the controller is busy, or dead.
"""
