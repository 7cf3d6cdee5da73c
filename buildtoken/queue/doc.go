// Package queue decides what happens to the builds of one job: which trigger
// creates a new item, which one joins an item that is already queued, when an item is
// due, which build number it gets, which records are kept, and which notifications
// are due.
//
// Everything here is a pure function of a [Lane] (the head of one job's queue), of
// the few records that a decision is about, and of the instant. Nothing here reads a
// clock, locks, starts a goroutine or touches a disk. A backend (boltqueue, pgqueue)
// looks up the records, calls one function, makes the returned [Change] durable, and
// only then answers.
//
// An item is written four times in its life, and never in between:
//
//	Schedule ── created or joined ──► item
//	Cancel   ── item left the queue ► cancelled
//	Claim    ── item became a build ► running
//	Finish   ── build ended ────────► SUCCESS, UNSTABLE, FAILURE, ABORTED, NOT_BUILT
//
// A trigger with an idempotency key leaves a [Receipt] with the first of them, so that
// a repetition gets the same answer. The end of a build updates the job's [Summary].
// Each of the four may leave a [Notification].
//
// The states waiting, blocked and buildable are not stored: [Lane.Explain] derives
// them from the facts and the instant, so the end of a quiet period writes nothing.
//
// What will bite you: when a function is called, the Lane must include all earlier
// commits of its job, and two decisions about one lane must never overlap. The
// conformance suite in internal/queuetest checks both for a backend.
package queue
