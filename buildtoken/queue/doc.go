// Package queue decides what happens to the builds of one job: which trigger
// makes a new item, which one joins an item that is already there, when an
// item is due, which build number it gets, and which records are kept.
//
// Everything here is a pure function of a [Lane] (what must be known of one
// job's queue), of the few records that a decision is about, and of the
// instant. Nothing here reads a clock, locks, starts a goroutine or touches a
// disk. A backend (boltqueue, pgqueue) looks up the records, calls one
// function, makes the returned [Change] durable, and only then answers.
//
// Four things are written in the life of an item, and nothing else:
//
//	Schedule ── created or joined ──► item
//	Cancel   ── item left the queue ► cancelled
//	Claim    ── item became a build ► running
//	Finish   ── build ended ────────► SUCCESS, UNSTABLE, FAILURE, ABORTED, NOT_BUILT
//
// A trigger with a key leaves a [Receipt] beside the first of them, so that it
// can be answered again.
//
// Waiting, blocked and buildable are not stored: [Lane.Explain] derives them
// from the facts and the instant, so the end of a quiet period writes nothing.
//
// What will bite you: a Lane must hold all earlier commits of its job when a
// function is called, and two decisions of one lane must never overlap. The
// conformance suite in queuetest checks a backend for both.
package queue
