// Package executor runs due builds, at most as many at a time as there are
// executors, and records how each ended.
//
// One goroutine dispatches: it sleeps until the next due instant, and wakes
// when the queue changed, when an executor became free, or when the number of
// executors was changed. It never polls. Each running build has a goroutine of
// its own, and [Pool.Stop] waits for all of them.
//
// A build's end is a fact that must not be lost: if the queue can't record it,
// it is tried again until it can, or until Stop gives up.
package executor
