// What whippletree-worker --help prints before and after the options: the manual.
#pragma once

namespace whippletree {

inline constexpr char kWorkerDescription[] =
    R"(whippletree-worker - runs jobs of queues, with any program or a built-in handler

  whippletree-worker --queue Q [OPTIONS] --exec COMMAND [ARGUMENT...]
  whippletree-worker --queue Q [OPTIONS] --handler NAME
  whippletree-worker --list-handlers

It connects to the broker, takes jobs as it has room for them, and sends back the outcome of each.
Start as many as you like, on as many machines. It reconnects by itself when the broker restarts.
Without --handler and --exec, each queue is run by the built-in handler of its own name.)";

inline constexpr char kWorkerManual[] = R"(Programs as workers:
  --exec takes all the rest of the command line, also what looks like a flag, and starts it for
  each job or batch, without a shell (write `--exec sh -c '...'` for one). The program gets
    standard input     the payload, then its end; it need not be read
    environment        WHIPPLETREE_JOB_ID, WHIPPLETREE_JOB_QUEUE, WHIPPLETREE_JOB_ATTEMPT,
                       WHIPPLETREE_BATCH_SIZE (1 for a job by itself), WHIPPLETREE_FOLLOW_ON_FD,
                       WHIPPLETREE_BROKER; and what the worker has, but for its other variables of
                       Whippletree (--env clean: PATH, HOME, LANG and what is named)
  and gives back
    standard output    the result, byte for byte
    descriptor 3       follow-on jobs, one a line: QUEUE, a tab, PAYLOAD
    standard error     its end goes into the message of a failed job
    exit code          0 completed; 75 try again later; 65 the job is at fault: dead at once; any
                       other code, or a signal: tried again as the queue's policy says
  One that cannot be started at all ends this worker with exit code 5, and its jobs go to others.
  With exit code 75 and a line such as `retry-after: 2s` at the end of standard error, no job of
  the queue is started before that time has passed, at most 1h.
  It runs in a session of its own, without a terminal. Its process group is killed when the job times out or is
  cancelled, when the worker dies (kill -9 included), and what it left in the background when it
  ends. Only what moves to another session (setsid) escapes.

Batches:
  A queue whose policy has batches gives several jobs to one start of the program, in one slot: one
  payload a line on standard input, one result a line on standard output, in the same order, or
  nothing at all: then the results are empty. With another number of results all jobs are dead;
  with --lines retry, for programs without side effects, the batch is tried again in halves. Exit
  codes are for the whole batch. Descriptor 4 (WHIPPLETREE_JOB_IDS_FD) has the ids, one a line.
  A job whose payload contains a newline fails alone, with INVALID_ARGUMENT; --nul ends jobs and
  results of a batch with a NUL byte instead, for such payloads. WHIPPLETREE_JOB_ID and
  WHIPPLETREE_JOB_ATTEMPT are those of the first job; WHIPPLETREE_BATCH_SIZE is the number of lines.
  Built-in handlers that are not made for batches run the jobs of a batch one after the other.

Follow-on jobs:
  What a program writes to descriptor 3 becomes jobs of other queues, together with the result of
  its job: all of it if the job completes, nothing if it fails. A line without a tab, or with a bad
  name of a queue, fails the job with INVALID_ARGUMENT. In a batch they belong to the first job.
  --follow-on QUEUE submits each result that is not empty to QUEUE, with any program or handler.

Signals:
  SIGTERM or SIGINT (Ctrl-C) drains: no new job is taken, running ones are finished and confirmed.
  A second one stops: running jobs are ended, which counts as a failed attempt, and are tried again
  by other workers, unless it was their last attempt. A third one ends the worker at once.

Examples:
  Square numbers with a shell, four at a time:
    whippletree-worker --queue sh --slots 4 --exec sh -c 'read n; echo $((n*n))'
  The same with the built-in handler, for two queues:
    whippletree-worker --queue a --queue b --handler square
  Then, elsewhere:
    seq 10 | whippletree-producer submit --queue sh --ordered
  The squares as jobs of the queue `sums`, from the built-in handler and from a program:
    whippletree-worker --queue square --follow-on sums
    whippletree-worker --queue sh --exec sh -c 'read n; printf "sums\t%s\n" $((n*n)) >&3'
  Each line of a batch in upper case, with one start of tr:
    whippletree-worker --queue lines --exec tr a-z A-Z

Environment:
  Each option may be given as the variable in brackets instead; WHIPPLETREE_QUEUE may name several
  queues, separated by commas.)";

}  // namespace whippletree
