"""Deterministic simulation: a seed is a world, and a world is lived through in one thread, in simulated time.

    python -m tests.simulation --seeds 1000        a thousand worlds, one after the other
    python -m tests.simulation --seed 42           one of them again, exactly as it was; --trace 0 prints all of it

A world is a tree of specs that people edit, files that come in, a destination on the other side of a network, and a controller
that lives, dies and is started again, over days to years. Whatever can go wrong is drawn from the seed.

What is real: the controller, the planner, the state machine and every other line of `reconciler`; the record (SQLite, in a
folder in memory), the index, the spec files and the walk through them, the commits of a git repository and git itself, data
files, statuses and logs; the work of a run (`reconciler.runner.work`) and its providers, from the order to the last unit, with
every message encoded and decoded as on the wire.

What stands behind a collaborator that a constructor takes, and is simulated here:

    timeline.py     time, and everything that is to happen in it; one thing at a time
    processes.py    the runner: a run is a coroutine, which can be killed, be slow, or never begin
    network.py      HTTP: a destination that refuses, is late, loses requests and answers, and notes what reaches it
    hands.py        the clock, the loop's waiting, the disk that is full, SQLite's commits
    people.py       who edits the specs, one step of a file at a time; what they had in force, and when
    mirrors.py      in a quarter of the worlds: messages about people, an audience, a destination that keeps members, a guard
                    and who approves what it holds back
    intake.py       in a quarter of the worlds: messages that come over HTTP to a process that listens, which dies at any byte of
                    its journals, and outlives its controller
    feeds.py        in a quarter of the worlds: an API that lists JSON records page by page, and more of them meanwhile
    lookups.py      in half of the worlds with people: an API that is asked about each of them, and no oftener than it may be
    forgets.py      in half of the worlds with people: who asks to be forgotten, and has all profiles built anew meanwhile
    asking.py       who asks for what no spec says, by requests to the controller
    machine.py      the threads, the disk and the loop of the process that listens (listener.py)
    weather.py      how often what goes wrong, and when that changes
    disk.py         what is on the disk for certain: whatever the record names, and whatever was accepted, must be
    laws.py         what must hold all along, and at the end
    drawing.py      the jobs, schedules.py when they run, streams.py what comes in and what the streams hold of it
    world.py        all of it together

Worlds from 400 on (`parts.FIRST`) may have more in them, each part drawn from random numbers of its own, so that those before stay
what they were when something was found in them. There more of them have people, two of whom turn out to be one more often, jobs
depend on several others, and a disk refuses to sync files and folders. The parts:

    references.py   an enrichment from a reference file, which changes, is torn and is young
    backfills.py    an import in the lane of backfills, which waits for an approval past its limit
    changing.py     the rules of a stream change, so that all profiles are built anew amid whatever is at work
    tokens.py       an authorization whose token is changed, refused and lost; it is seen nowhere else
    refusals.py     a destination that changes its mind about people whom it refused, retries, and another wish for a while
    returns.py      who takes a job out and wants it back (undelete), and approves deletions that are held back
    renames.py      exports that get another name, and send nothing again for that
    outboxes.py     exports to files: of a stream, what is new; of an audience, all members
    terms.py        the terms of jobs change: quiet hours, expiry, timeouts, retries, what they wait for
    truth.py        what the profiles should be; at the end those that were built step by step are that, and so is a rebuild

In worlds from 700 on (`parts.LATER`) terms change, and in half of those whose specs are files these lie in a work tree of git: each
change is committed too, before the files, after them or between, beside a lock or not.

Not simulated: sockets (a request is handed to the process that listens, from its headers on), the threads of a run, which read
ahead or send side by side, remote clones, notices. A controller that dies at a call does so by an
exception, as in tests/end_to_end/inprocess.py; its `finally` blocks run, and leave nothing behind that counts.
"""
