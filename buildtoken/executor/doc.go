// Package executor runs due builds on a limited number of executors, and records
// how each ended.
//
// One goroutine dispatches. It sleeps until the next due instant, and wakes when
// the queue changes, an executor becomes free, or the number of executors is
// changed. Each running build has a separate goroutine, and [Pool.Stop] waits for
// all of them.
//
// The end of a build must not be lost: if the queue cannot record it, the pool
// tries again until it succeeds, or until Stop gives up.
package executor
