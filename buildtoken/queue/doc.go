// Package queue decides what happens to the builds of one job: which trigger
// creates a new item, which one joins an item that is already queued, when an item is
// due, which build number it gets, which records are kept, and which notifications
// are due.
//
// A decision is a pure function of a [Lane] (the counters and rules of one job's queue), of
// the few records that it is about, and of the instant. Schedule also takes the [Room] that
// is left over all lanes, and Claim the [Node]. Nothing here reads a clock, locks, starts a
// goroutine or touches a disk. Only [TokenUse.Count] and [TokenUse.Add] modify their
// receivers. A backend (boltqueue, pgqueue) looks up the records, calls one function, makes
// the returned [Change] durable, and only then answers.
//
// These decisions change an item or its build:
//
//	Schedule  ── created or joined ──► item
//	Cancel    ── item left the queue ► cancelled
//	Claim     ── item became a build ► running
//	Abort     ── asked to stop ──────► running
//	SetHandle ── handle stored ──────► running
//	Adopt     ── other node ─────────► running
//	Finish    ── build ended ────────► SUCCESS, UNSTABLE, FAILURE, ABORTED, NOT_BUILT
//
// Each of them is one commit, except that a join which only raises a count or adds a trace
// context may wait for the next one ([Change.Lazy]). The passing of time never writes
// anything: the states waiting, blocked and buildable are not stored, but [Lane.Explain]
// derives them from the facts and the instant.
//
// Schedule for a trigger with an idempotency key ([ScheduleOnce]) leaves a [Receipt], so
// that a repetition gets the same answer. The end of a build updates the job's [Summary].
// Schedule, Cancel, Claim and Finish may leave [Notification] records.
//
// What to watch out for: when a function is called, the Lane must include all earlier
// commits of its job, and two decisions about one lane must never overlap. The
// conformance suite in internal/queuetest checks both for a backend. Decisions about
// different lanes may overlap; if they use the same Room, its limits are approximate.
package queue
